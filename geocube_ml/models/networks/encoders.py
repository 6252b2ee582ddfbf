"""From the spec of an encoder to the encoder."""

from __future__ import annotations

from geocube_ml.models.networks.attention import AttentionTempCNN
from geocube_ml.models.networks.inceptiontime import InceptionTime
from geocube_ml.models.networks.ltae import LTAE
from geocube_ml.models.networks.recurrent import Recurrent
from geocube_ml.models.networks.tempcnn import TempCNN
from geocube_ml.spec.networks import (
    AttentionEncoder,
    EncoderSpec,
    InceptionTimeEncoder,
    LTAEEncoder,
    RecurrentEncoder,
    TempCNNEncoder,
)

Encoder = TempCNN | AttentionTempCNN | LTAE | Recurrent | InceptionTime


def build_encoder(spec: EncoderSpec, n_channel: int, n_step: int) -> Encoder:
    """An encoder: (n, channel, step), (n, step) bool where observed -> (n, ``width``) features.

    What is not observed is 0, and flags of what is stand among the channels.
    """
    match spec:
        case TempCNNEncoder():
            return TempCNN(spec, n_channel, n_step)
        case AttentionEncoder():
            return AttentionTempCNN(spec, n_channel, n_step)
        case LTAEEncoder():
            return LTAE(spec, n_channel, n_step)
        case RecurrentEncoder():
            return Recurrent(spec, n_channel, n_step)
        case InceptionTimeEncoder():
            return InceptionTime(spec, n_channel, n_step)
