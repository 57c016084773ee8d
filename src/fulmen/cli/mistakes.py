"""What to say of a command line or a file that cannot be parsed: what is wrong, where it stands, and what is meant.

jsonargparse says that it failed, and at which key. Here the key is looked up in the files and among the words, and
names that there are none of are compared with those that there are.
"""

from __future__ import annotations

import os
import re
from typing import Any

from fulmen.cli.class_mistakes import of_class
from fulmen.cli.hints import known, told
from fulmen.cli.sources import files, find, options, words_of
from fulmen.utilities.suggest import closest, did_you_mean

_KEY = re.compile(r'Parser key "(?P<key>[^"]+)":\s*(?P<body>.*)', re.DOTALL)
_UNKNOWN = re.compile(
    r"(?:Subcommand '(?P<sub>[^']+)'|Group '(?P<group>[^']+)') does not accept option '(?P<key>[^']+)'"
)
_UNKNOWN_KEY = re.compile(r"Option '(?P<key>[^']+)' is not accepted")
_CHOICE = re.compile(
    r"invalid choice: '(?P<given>[^']*)' \((?:choose from|maybe you meant: )(?P<choices>.*)\)", re.DOTALL
)
_REQUIRED = re.compile(r"the following arguments are required: (?P<names>.+)")


def explained(parser: Any, message: str) -> str:
    """A message in words that help.

    Args:
        parser: The parser that failed.
        message: What jsonargparse says.

    Returns:
        The message: the rule, where which value stands, and what to do; `message` itself where nothing more is known.
    """
    words = words_of(parser)
    for make in (_unrecognized, _unknown_key, _wrong_choice, _missing, _unreadable, _wrong_value):
        text = make(parser, message, words)
        if text is not None:
            return text
    return message


def say(rule: str, got: str | None, fix: str | None) -> str:
    """The three parts of a message, one a line."""
    lines = [rule]
    lines += [f"Received: {got}"] if got else []
    lines += [f"What to do: {fix}"] if fix else []
    return "\n".join(lines)


def _help_of(parser: Any) -> str:
    return f"`{parser.prog.replace(' [options]', '')} --help` lists all."


def _names(parser: Any) -> list[str]:
    """The options of a parser, without dashes."""
    return [option.lstrip("-") for action in parser._actions for option in action.option_strings if option[:2] == "--"]


def _chosen(parser: Any, key: str) -> tuple[Any, str]:
    """The parser of the subcommand that a key begins with, or that was given, and the rest of the key."""
    first, _, rest = key.partition(".")
    group = getattr(parser, "_subcommands_action", None)
    if group is None:
        return parser, key
    if first in group.choices and rest:
        return group.choices[first], rest
    given = next((word for word in words_of(parser) if word in group.choices), None)
    return (parser, key) if given is None else (group.choices[given], key)


def _unrecognized(parser: Any, message: str, words: list[str]) -> str | None:
    if not message.startswith("unrecognized arguments: "):
        return None
    word = message.removeprefix("unrecognized arguments: ").split(" ")[0]
    if not word.startswith("-"):
        return say(
            f"`{word}` is no option.", None, f"Options begin with two dashes: `--name=value`. {_help_of(parser)}"
        )
    name = word.partition("=")[0].lstrip("-")
    return _no_such(parser, name, "option", next((text for key, _, text in options(words) if key == name), word))


def _no_such(parser: Any, name: str, kind: str, where: str | None) -> str:
    written = f"--{name}" if kind == "option" else name
    group, _, last = name.rpartition(".")
    inside = [other.removeprefix(f"{group}.") for other in _names(parser) if group and other.startswith(f"{group}.")]
    near = closest(last, inside) if inside else closest(name, _names(parser))
    if near is not None:
        fix = f"Did you mean `{'--' if kind == 'option' else ''}{f'{group}.' if inside else ''}{near}`?"
    else:
        fix = f"`{group}` has {', '.join(inside)}." if inside else ""
    return say(f"There is no {kind} `{written}`.", where, f"{fix} {_help_of(parser)}".strip())


def _unknown_key(parser: Any, message: str, words: list[str]) -> str | None:
    if "Parser key" in message:
        return None
    match = _UNKNOWN.search(message) or _UNKNOWN_KEY.search(message)
    if match is None:
        return None
    groups = match.groupdict()
    key = match["key"]
    if groups.get("group"):
        key = f"{groups['group']}.{key}"
    elif groups.get("sub"):
        parser = parser._subcommands_action.choices[groups["sub"]]
    else:
        parser, key = _chosen(parser, key)
    found = find(words, key)
    where = None if found is None else _place(key.rpartition(".")[2], found)
    return _no_such(parser, key, "key", where)


def _place(name: str, found: Any) -> str:
    if "command line" in found.where or found.value is None:
        return str(found.where)
    return f"`{name}: {found.value}` in {found.where}"


def _wrong_choice(parser: Any, message: str, words: list[str]) -> str | None:
    match = _CHOICE.search(message)
    if match is None:
        return None
    group = getattr(parser, "_subcommands_action", None)
    choices = list(group.choices) if group is not None else re.findall(r"'([^']+)'", match["choices"])
    near = did_you_mean(match["given"], choices)
    return say(f"There is no subcommand `{match['given']}`.", None, f"{near} There are: {', '.join(choices)}.".strip())


def _missing(parser: Any, message: str, words: list[str]) -> str | None:
    if message.startswith('expected "subcommand" to be one of'):
        choices = list(parser._subcommands_action.choices)
        return say("A subcommand says what to do.", None, f"Give one of {', '.join(choices)}. {_help_of(parser)}")
    match = _REQUIRED.match(message)
    if match is None:
        return None
    keys = [_chosen(parser, name.strip()) for name in match["names"].split(",")]
    parser = keys[0][0]
    needed = [key for _, key in keys]
    one = len(needed) == 1
    return say(
        f"{', '.join(f'`{key}`' for key in needed)} {'has' if one else 'have'} no default, and must be given.",
        None,
        f"`{' '.join(f'--{key}=...' for key in needed)}`, or the same keys in a file: `--config run.yaml`.",
    )


def _unreadable(parser: Any, message: str, words: list[str]) -> str | None:
    if message.startswith("Problems parsing config:"):
        detail = message.partition(":")[2].strip()
        lines = re.findall(r"line (\d+), column (\d+)", detail)
        where = f"{files(words)[-1]}, line {lines[-1][0]}, column {lines[-1][1]}" if lines and files(words) else None
        problem = [line for line in detail.splitlines() if not line.strip().startswith("in ")]
        return say("The file is no YAML.", where, f"Mend it there: {'; '.join(problem)}.")
    if message.startswith("Unexpected config:"):
        where = files(words)[-1] if files(words) else message.partition(":")[2].strip()
        return say("A configuration is a mapping: keys with values.", where, "Write `model:`, and its arguments below.")
    match = re.match(
        r'Parser key "(c|config)": (?:File does not exist|.*not accessible).*?\'?([^\s\']+)\'?$', message, re.DOTALL
    )
    if match is not None:
        return say("The file with the configuration is not there.", match[2], "Give the path of one that is.")
    return None


def _wrong_value(parser: Any, message: str, words: list[str]) -> str | None:
    match = _KEY.match(message)
    if match is None:
        return None
    parser, key = _chosen(parser, match["key"])
    body = match["body"]
    action = next((action for action in parser._actions if action.dest == key), None)
    hint = getattr(action, "_typehint", None)
    if hint is None:
        return None
    if any(True for _ in known(hint)):
        text = of_class(key, hint, body, words, say, _place)
        if text is not None:
            return text
    rule, found = f"`{key}` must be {told(hint)}.", find(words, key)
    if found is not None:
        return say(rule, _place(key.rpartition(".")[2], found), None)
    variable = f"{parser.env_prefix}_{key.replace('.', '__')}".upper()
    if parser.default_env and variable in os.environ:
        return say(rule, f"{variable}={os.environ[variable]}, an environment variable", None)
    return say(rule, _given(body), None)


def _given(body: str) -> str | None:
    match = re.search(r"(?:Got value|Given value): (.*)", body)
    return None if match is None else match[1]
