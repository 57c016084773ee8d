"""Does the same script behave the same under PyTorch Lightning 2.6.6 and under Fulmen?

Every test here runs one script twice, with the framework as its parameter ``pl``, and compares what was written down:

- ``test_hooks.py``: which hooks of the module, the data module and the callbacks were called, in which order, with
  which arguments and with which counters of the trainer beside them.
- ``test_numbers.py``: the losses of every step, the weights and the optimizer's state at the end, bit by bit.
- ``test_logging.py``: what ``self.log`` leaves in the trainer's dictionaries, in a logger and in a CSV file.

``recorder.py`` makes classes that write down the hooks they receive; ``scenarios.py`` holds the scripts and runs one.

A difference that is wanted is a row of ``docs/differences.md`` and is named in the test that leaves it out. Lightning
is run, never read. Where it is not installed these tests skip. ``FULMEN_SOAK=1`` runs the whole grid of hook cases
instead of a sample drawn with a fixed seed.
"""
