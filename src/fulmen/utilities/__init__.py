"""Small things that everything else may use, and that use nothing of Fulmen."""

from fulmen.utilities.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AttributeDict": "fulmen.utilities.parsing",
        "CombinedLoader": "fulmen.utilities.combined_loader",
        "GradClipAlgorithmType": "fulmen.utilities.enums",
        "LightningEnum": "fulmen.utilities.enums",
        "disable_possible_user_warnings": "fulmen.utilities.warnings",
        "find_shared_parameters": "fulmen.utilities.parameter_tying",
        "grad_norm": "fulmen.utilities.grads",
        "measure_flops": "fulmen.utilities.throughput",
        "is_picklable": "fulmen.utilities.parsing",
        "is_shared_filesystem": "fulmen.utilities.distributed",
        "move_data_to_device": "fulmen.utilities.tree",
        "rank_zero_deprecation": "fulmen.utilities.rank_zero",
        "rank_zero_info": "fulmen.utilities.rank_zero",
        "rank_zero_only": "fulmen.utilities.rank_zero",
        "rank_zero_warn": "fulmen.utilities.rank_zero",
        "set_shared_parameters": "fulmen.utilities.parameter_tying",
        "suggested_max_num_workers": "fulmen.utilities.data",
    },
)
