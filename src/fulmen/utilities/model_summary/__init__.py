"""What a model is made of, as a table."""

from __future__ import annotations

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "DeepSpeedSummary": "fulmen.utilities.model_summary.model_summary_deepspeed",
        "LayerSummary": "fulmen.utilities.model_summary.model_summary",
        "ModelSummary": "fulmen.utilities.model_summary.model_summary",
        "get_formatted_model_size": "fulmen.utilities.model_summary.table",
        "get_human_readable_count": "fulmen.utilities.model_summary.table",
        "parse_batch_shape": "fulmen.utilities.model_summary.model_summary",
        "summarize": "fulmen.utilities.model_summary.model_summary",
    },
)
