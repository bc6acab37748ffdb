"""Hugging Face's layouts by family, as plm.json names them, and the family of each model_type."""

from preprocess.layouts.bert import BERT, DISTILBERT, ROBERTA, XLMR_XL
from preprocess.layouts.deberta import DEBERTA
from preprocess.layouts.layout import Layout
from preprocess.layouts.modernbert import MODERNBERT

LAYOUTS: dict[str, Layout] = {
    "bert": BERT,
    "roberta": ROBERTA,
    "distilbert": DISTILBERT,
    "modernbert": MODERNBERT,
    "deberta-v2": DEBERTA,
    "xlm-roberta-xl": XLMR_XL,
}
FAMILIES = {layout.model_type: family for family, layout in LAYOUTS.items()} | {"roberta": "roberta"}
