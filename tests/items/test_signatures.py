"""What in an address is secret is not written down, and what is not is left alone."""

from datetime import UTC, datetime

import pystac
import pytest

from geocube_ml.errors import InputError
from geocube_ml.items.signatures import check_renewable


def item_of(href, **extra):
    item = pystac.Item("x", None, None, datetime(2022, 1, 1, tzinfo=UTC), {})
    item.add_asset("B02", pystac.Asset(href, extra_fields=extra))
    return item


SECRET = [
    "https://a.org/B02.tif?token=SECRET",
    "https://a.org/B02.tif?v=2&access_token=SECRET",
    "https://a.org/B02.tif?subscription-key=SECRET",
    "https://a.org/B02.tif?api_key=SECRET",
    "https://user:SECRET@a.org/B02.tif",
    "https://maps.blob.core.windows.net/c/B02.tif?sig=abc&token=SECRET",
]


@pytest.mark.parametrize("href", SECRET)
def test_an_address_with_a_key_or_password_is_refused_and_not_shown(href):
    with pytest.raises(InputError, match=r"x, asset B02: .*key or password") as caught:
        check_renewable([item_of(href)])
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("href", SECRET)
def test_another_address_of_an_asset_is_looked_at_too(href):
    item = item_of("https://a.org/B02.tif", alternate={"web": {"href": href}})
    with pytest.raises(InputError, match="key or password") as caught:
        check_renewable([item])
    assert "SECRET" not in str(caught.value)


def test_an_asset_that_is_not_read_is_not_looked_at():
    item = item_of("https://a.org/B02.tif")
    item.add_asset("thumbnail", pystac.Asset(SECRET[0]))
    check_renewable([item], ["B02"])


@pytest.mark.parametrize(
    "href",
    [
        "https://a.org/B02.tif",
        "https://a.org/B02.tif?v=2&version=3&format=png&bbox=1,2,3,4&date=2022-01-01T00:00:00Z",
        "https://a.org/preview.png?collection=s2&assets=visual&asset_bidx=visual%7C1%2C2&nodata=0",
        "https://a.org/preview.png?item=S2A_T33&rescale=0,3000&color_formula=gamma+RGB+3",
        "https://maps.blob.core.windows.net/c/B02.tif?snapshot=2022-01-01T00:00:00.0000000Z",
        "https://maps.blob.core.windows.net/c/B02.tif?st=1&se=2&sp=r&sv=1&sr=c&sig=abc",
        "https://a.org/at@home/B02.tif",
        "s3://sentinel-s2-l2a/tiles/33/T/WN/2022/1/1/0/B02.jp2",
        "/data/token=1/B02.tif",
        "B02.tif",
    ],
)
def test_ordinary_addresses_are_taken(href):
    check_renewable([item_of(href, alternate={"same": {"href": href}})])
