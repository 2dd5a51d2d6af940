"""Layers with weights: norms, residual blocks, backbones, feature pyramid and heads. No targets and no losses."""

from seamseg.modules.abn import ABN, InPlaceABN, InPlaceABNSync
from seamseg.modules.batchnorm import from_batchnorm, to_batchnorm
from seamseg.modules.eval_norm import eval_norms
from seamseg.modules.folding import fold, fold_norms
from seamseg.modules.norm_conversion import NormConversion, convert_norms

__all__ = [
    "ABN",
    "InPlaceABN",
    "InPlaceABNSync",
    "NormConversion",
    "convert_norms",
    "eval_norms",
    "fold",
    "fold_norms",
    "from_batchnorm",
    "to_batchnorm",
]
