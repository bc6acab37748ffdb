"""The bodies of PLMs, by their names in ``plm.json``."""

from salt_fairseq.modules.bodies.bert import BertEncoder
from salt_fairseq.modules.bodies.deberta import DebertaEncoder
from salt_fairseq.modules.bodies.modernbert import ModernBertEncoder
from salt_fairseq.modules.bodies.xlmr_xl import XlmrXlEncoder
from salt_fairseq.modules.encoder import Encoder

BODIES: dict[str, type[Encoder]] = {
    "bert": BertEncoder,
    "modernbert": ModernBertEncoder,
    "deberta-v2": DebertaEncoder,
    "xlm-roberta-xl": XlmrXlEncoder,
}
