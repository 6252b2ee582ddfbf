"""Where to run: short in the file, strict about what cannot be."""

import pytest

from geocube_ml.errors import SpecError
from geocube_ml.spec.base import Spec
from geocube_ml.spec.cluster import ClusterSpec


class Whole(Spec):
    name: str = "n"
    cluster: ClusterSpec = ClusterSpec()


def read(value):
    return Whole.read({"cluster": value}, where="recipe.yaml").cluster


@pytest.mark.parametrize(
    "where", ["threads", "processes", "current", "tcp://10.0.0.1:8786", "tls://host.name:1"]
)
def test_a_word_is_short_for_where(where):
    assert read(where) == read({"where": where}) == ClusterSpec(where=where)


def test_nothing_of_it_is_in_a_digest():
    here = Whole(cluster=ClusterSpec(where="processes", workers=3, attempts=9, ahead=1))
    assert here.digest() == Whole().digest()
    assert here.cluster.result() == {}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "process",
            "cluster.where: no place to work is called 'process'; did you mean 'processes'",
        ),
        ("10.0.0.1:8786", "Else write tcp://HOST:PORT"),
        ("tcp://10.0.0.1", "Else write tcp://HOST:PORT"),
        ("gateway://hub/abc", "write 'current'"),
        ({"where": "current", "workers": 4}, "scale the cluster itself"),
        ({"where": "tcp://h:1", "workers": 4}, "scale the cluster itself"),
        ({"workers": 0}, "cluster.workers: Input should be greater than or equal to 1, got 0"),
        ({"attempts": 0}, "cluster.attempts"),
        ({"ahead": 0}, "cluster.ahead"),
        ({"patience": 0}, "cluster.patience"),
        ({"pause": -1}, "cluster.pause"),
        ({"wokers": 2}, "did you mean 'workers'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(value, said):
    with pytest.raises(SpecError) as caught:
        read(value)
    assert said in str(caught.value)
