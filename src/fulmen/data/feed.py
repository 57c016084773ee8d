"""One pass over a loader (first draft by the lead; the data layer's author replaces this file)."""
import itertools, math
from fulmen.utilities.combined_loader import CombinedLoader, length_of
class Feed:
    def __init__(self, loader, limit, *, device=None, fast=True):
        self.loader, self.limit = loader, limit
        n = length_of(loader)
        self.total = min(n, limit)
    def __iter__(self):
        it = iter(self.loader)
        if isinstance(self.loader, CombinedLoader):
            it = (b for b, _, _ in it)
        if self.total != math.inf:
            return itertools.islice(it, int(self.total))
        return self._ahead(it)
    def _ahead(self, it):
        n = 0
        try: prev = next(it)
        except StopIteration: return
        for nxt in it:
            n += 1
            yield prev
            prev = nxt
        self.total = n + 1
        yield prev
