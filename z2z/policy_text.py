"""Reads the text of a policy; all mistakes are told together, each with its rule and what would be right."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from z2z.errors import LocalProtocolError, RemoteProtocolError
from z2z.policy_rules import DIRECTIONS, Direction, Rule, Rules, name_pattern
from z2z.service_item import LABEL_MAX, check_service_type
from z2z.trust import KEY_HEX, folded

RULES_MAX: Final = 500
"Each service is compared with each rule, again after each change: 4,000 services take a second or two."
WORDS_MAX: Final = 500
"Types, names or sites of one rule."
REASON_MAX: Final = 200
"Characters: it stands in lines of the log and of `z2z status`."
MISTAKES_MAX: Final = 5
"Told at once; more would hide the first."
ANY: Final = "*"
_KEYS: Final = ("direction", "action", "type", "name", "site", "reason")
_PLACES: Final = {
    "default": 'it stands above the first [[rule]], as default = "deny"',
    "force": "a policy only narrows; private addresses and types for remote control are exported with --allow-private, "
    "--map and --force-type",
}
"What to say of words that are meant for another place."


def parse_rules(text: str) -> Rules:
    """Return the rules in the text of a policy.

    Raises:
        LocalProtocolError: it is not TOML, or says what cannot be meant; the text names the first mistakes.
    """
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise LocalProtocolError(f"not TOML: {error}") from error
    reader = _Reader()
    rules = reader.read(table)
    if reader.mistakes:
        more = len(reader.mistakes) - MISTAKES_MAX
        told = "; ".join(reader.mistakes[:MISTAKES_MAX])
        raise LocalProtocolError(told + (f"; and {more} more" if more > 0 else ""))
    return rules


class _Reader:
    """Collects mistakes on the way."""

    def __init__(self) -> None:
        self.mistakes: list[str] = []
        self._where = ""

    def read(self, table: Mapping[str, Any]) -> Rules:
        """Return the rules, sound only if there is no mistake."""
        self._known_keys(table, ("default", "rule"))
        defaults = self._defaults(table.get("default", {}))
        found = table.get("rule", [])
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            self._wrong("rule", "a list of tables: each begins with [[rule]], in two brackets")
            found = []
        if not found and not defaults and not self.mistakes:
            self.mistakes.append('it says nothing: give a [[rule]], or a default = "allow" or "deny"')
        if len(found) > RULES_MAX:
            self.mistakes.append(f"{len(found)} rules; at most {RULES_MAX}")
            found = []
        rules = tuple(self._rule(number, each) for number, each in enumerate(found, 1))
        if not self.mistakes:
            self._check_order(rules)
            self._check_defaults(rules, defaults)
        return Rules(rules=rules, denied_by_default=frozenset(key for key, allows in defaults.items() if not allows))

    def _rule(self, number: int, table: Mapping[str, Any]) -> Rule:
        self._where = f"rule {number}: "
        self._known_keys(table, _KEYS)
        directions: frozenset[Direction] = frozenset(DIRECTIONS)
        if "direction" in table:
            directions = frozenset(each for each in DIRECTIONS if each == table["direction"])
            if not directions:
                self._wrong("direction", '"export" or "import"; without it the rule is for both', table["direction"])
        sites = self._words(table, "site", '"office", or a key of 64 hexadecimal digits')
        if sites and directions != {"import"}:
            self._wrong("site", 'for imports only: add direction = "import"')
        reason = table.get("reason", "")
        if not isinstance(reason, str) or len(reason) > REASON_MAX:
            self._wrong("reason", f"a text of at most {REASON_MAX} characters")
        rule = Rule(
            number=number,
            directions=directions,
            allows=self._action(table),
            types=frozenset(self._type(text) for text in self._words(table, "type", '"_ipp._tcp"')),
            names=tuple(self._name(text) for text in self._words(table, "name", '"Printer*"')),
            sites=frozenset(folded(self._site(text)) for text in sites if not KEY_HEX.fullmatch(text)),
            keys=frozenset(bytes.fromhex(text) for text in sites if KEY_HEX.fullmatch(text)),
            reason=str(reason),
        )
        self._where = ""
        return rule

    def _action(self, table: Mapping[str, Any]) -> bool:
        if "action" not in table:
            self.mistakes.append(f'{self._where}no action; say action = "allow" or "deny"')
        elif table["action"] not in ("allow", "deny"):
            self._wrong("action", '"allow" or "deny"', table["action"])
        return table.get("action") == "allow"

    def _words(self, table: Mapping[str, Any], key: str, example: str) -> Sequence[str]:
        """The texts of a condition; none if all will do."""
        value = table.get(key, ANY)
        words = value if isinstance(value, list) else [value]
        if not words:
            self._wrong(key, "never empty: leave it out if it does not matter")
        elif not all(isinstance(word, str) and word for word in words):
            self._wrong(key, f"a text as {example}, or a list of them", value)
        elif len(words) > WORDS_MAX:
            self._wrong(key, f"at most {WORDS_MAX} texts; there are {len(words)}")
        elif ANY not in words:
            return words
        return ()

    def _type(self, text: str) -> str:
        try:
            return check_service_type(text)
        except RemoteProtocolError as error:
            self.mistakes.append(f'{self._where}type: {_cut(str(error))}, or "*" for all')
            return ""

    def _name(self, text: str) -> re.Pattern[str]:
        if len(text) > 2 * LABEL_MAX:
            self._wrong("name", f"a pattern for names of at most {LABEL_MAX} bytes", text)
            text = ""
        return name_pattern(text)

    def _site(self, text: str) -> str:
        if len(text.encode(errors="replace")) > LABEL_MAX:
            self._wrong("site", f"a name of at most {LABEL_MAX} bytes, or a key of 64 hexadecimal digits", text)
        return text

    def _defaults(self, value: Any) -> dict[Direction, bool]:
        """Which directions have a default, and whether it allows."""
        said = dict.fromkeys(DIRECTIONS, value) if isinstance(value, str) else value
        if not isinstance(said, dict):
            self._wrong("default", '"allow" or "deny", or a table of them for export and import', value)
            return {}
        self._where = "default: "
        self._known_keys(said, DIRECTIONS)
        self._where = ""
        for key, each in said.items():
            if key in DIRECTIONS and each not in ("allow", "deny"):
                self._wrong("default" if said is not value else f"default.{key}", '"allow" or "deny"', each)
        return {direction: said[direction] == "allow" for direction in DIRECTIONS if direction in said}

    def _check_order(self, rules: Sequence[Rule]) -> None:
        """A rule behind one that takes all was meant to stand before it."""
        taken: dict[Direction, int] = {}
        for rule in rules:
            if all(direction in taken for direction in rule.directions):
                earlier = max(taken[direction] for direction in rule.directions)
                what = " and ".join(sorted(rule.directions))
                self.mistakes.append(
                    f"rule {rule.number} is never reached: rule {earlier} takes every {what}, as it has no type, "
                    "name or site; change their order"
                )
            if rule.takes_all:
                for direction in rule.directions:
                    taken.setdefault(direction, rule.number)

    def _check_defaults(self, rules: Sequence[Rule], defaults: Mapping[Direction, bool]) -> None:
        """Who only allows means to deny the rest, which is not what happens if nobody says so."""
        for direction in DIRECTIONS:
            own = [rule for rule in rules if direction in rule.directions]
            if own and all(rule.allows for rule in own) and direction not in defaults:
                self.mistakes.append(
                    f"all rules for {direction} allow, and nothing is said of the rest; above the first [[rule]] say "
                    f'default.{direction} = "deny", or "allow"'
                )

    def _known_keys(self, table: Mapping[str, Any], known: Iterable[str]) -> None:
        for key in table:
            if key not in known:
                self.mistakes.append(f"{self._where}unknown key {_cut(repr(key))}: {_hint(key, tuple(known))}")

    def _wrong(self, key: str, right: str, value: object = None) -> None:
        got = "" if value is None else f", not {_cut(repr(value))}"
        self.mistakes.append(f"{self._where}{key} is {right}{got}")


def _hint(key: str, known: tuple[str, ...]) -> str:
    if key in _PLACES and key not in known:
        return _PLACES[key]
    close = difflib.get_close_matches(key, known, 1)
    return f"{close[0]} is meant?" if close else f"there are {', '.join(known)}"


def _cut(text: str) -> str:
    return text if len(text) <= REASON_MAX else f"{text[:REASON_MAX]}..."
