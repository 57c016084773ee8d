"""The parts of ``libcst`` that are used here, which an extra brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fulmen.utilities.imports import require

if TYPE_CHECKING:
    import libcst as cst
    import libcst.matchers as m
    from libcst import codemod, metadata
    from libcst.codemod import visitors
    from libcst.helpers import get_full_name_for_node
else:
    cst = require("libcst", "migrate", "`fulmen migrate`")
    m = require("libcst.matchers", "migrate", "`fulmen migrate`")
    codemod = require("libcst.codemod", "migrate", "`fulmen migrate`")
    visitors = require("libcst.codemod.visitors", "migrate", "`fulmen migrate`")
    metadata = require("libcst.metadata", "migrate", "`fulmen migrate`")
    get_full_name_for_node = require("libcst.helpers", "migrate", "`fulmen migrate`").get_full_name_for_node

__all__ = ["codemod", "cst", "get_full_name_for_node", "m", "metadata", "visitors"]
