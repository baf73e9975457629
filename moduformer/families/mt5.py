"""mT5 (Xue et al. 2021, arXiv 2010.11934): T5 1.1 for 101 languages, whose output is never scaled."""

from moduformer.families.t5 import Activation, Sizes, member, rules

RULES = (Sizes(scaled=False, default=(512, 8)), *rules(250112, 512, 8, 6, 1024), Activation("gated-gelu"))
FAMILY = member("mt5", "MT5", RULES)
