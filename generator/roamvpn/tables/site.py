"""A site's input files, as texts, to checked tables. Gathers every problem before it gives up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from roamvpn.tables import checks
from roamvpn.tables.base import Frozen
from roamvpn.tables.network import Network
from roamvpn.tables.problems import InputError, Problem
from roamvpn.tables.records import CnGwTableFile, PolicyTestsFile, SessionsFile, VpnDatabaseFile
from roamvpn.tables.secrets import Secrets
from roamvpn.tables.source import Source
from roamvpn.tables.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from roamvpn.tables.checks import Finding
    from roamvpn.tables.records import PolicyTest, Session

_Model = TypeVar("_Model", bound=Frozen)

REQUIRED = (checks.NETWORK, checks.DATABASE, checks.CN_GW)
OPTIONAL = (checks.SESSIONS, checks.POLICY_TESTS, checks.SECRETS)
MODELS: dict[str, type[Frozen]] = {
    checks.NETWORK: Network,
    checks.DATABASE: VpnDatabaseFile,
    checks.CN_GW: CnGwTableFile,
    checks.SESSIONS: SessionsFile,
    checks.POLICY_TESTS: PolicyTestsFile,
    checks.SECRETS: Secrets,
}


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that a compile needs, checked."""

    tables: Tables
    sessions: tuple[Session, ...] = ()
    policy_tests: tuple[PolicyTest, ...] = ()
    secrets: Secrets | None = field(default=None, repr=False)
    warnings: tuple[Problem, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict, repr=False)


def load_site(texts: Mapping[str, str]) -> Site:
    """Build a site from `{file name: text}`.

    Raises:
        InputError: with all problems of all files.
    """
    loader = _Loader(texts)
    network = loader.document(checks.NETWORK, Network)
    database = loader.document(checks.DATABASE, VpnDatabaseFile)
    table = loader.document(checks.CN_GW, CnGwTableFile)
    sessions = loader.document(checks.SESSIONS, SessionsFile)
    tests = loader.document(checks.POLICY_TESTS, PolicyTestsFile)
    secrets = loader.document(checks.SECRETS, Secrets)
    if network is None:
        raise InputError(loader.errors)
    tables = Tables(network, database.vpn_database if database else (), table.cn_gw_table if table else ())
    loader.place(checks.check_network(network))
    loader.place(checks.check_cn_gw_table(tables.cn_gw_table.rows, tables))
    loader.place(checks.check_vpn_database(tables))
    if sessions is not None:
        loader.place(checks.check_sessions(sessions.sessions, tables))
    if tests is not None:
        loader.place(checks.check_policy_tests(tests.policy_tests, tables))
    if secrets is not None:
        loader.place(checks.check_secrets(secrets, tables))
    if loader.errors:
        raise InputError(loader.errors)
    return Site(
        tables=tables,
        sessions=sessions.sessions if sessions else (),
        policy_tests=tests.policy_tests if tests else (),
        secrets=secrets,
        warnings=tuple(sorted(loader.warnings)),
        sources=loader.sources,
    )


class _Loader:
    def __init__(self, texts: Mapping[str, str]) -> None:
        self.sources = {name: Source(name, text) for name, text in texts.items()}
        self.errors = [
            Problem(name, 0, "", "", "this file is missing") for name in REQUIRED if name not in self.sources
        ]
        self.warnings: list[Problem] = []
        self._unread = bool(self.errors)
        self._unread_words: set[str] = set()
        self._unread_files: set[str] = set()
        self._numbers: dict[tuple[str, str | int], list[int]] = {}

    def document(self, name: str, model: type[_Model]) -> _Model | None:
        """The file's content; where some of its rows do not hold, the others, so that those are checked as well."""
        source = self.sources.get(name)
        if source is None:
            return None
        try:
            data = source.parse()
        except InputError as error:
            self.errors.extend(error.problems)
            self._unread = True
            return None
        try:
            return model.model_validate(data)
        except ValidationError as error:
            self.errors.extend(source.problems(error, hide_values=model is Secrets))
            self._unread_files.add(name)
            rows = {item["loc"][:2] for item in error.errors(include_url=False, include_context=False)}
        try:
            return model.model_validate(self._without(name, data, rows))
        except ValidationError:
            self._unread = True
            return None

    def _without(self, name: str, data: object, rows: set[tuple[int | str, ...]]) -> object:
        """The document without these rows; remembers where the others of a list stood."""
        if not isinstance(data, dict):
            return data
        kept = dict(data)
        for key, node in data.items():
            if isinstance(node, list):
                numbers = [number for number in range(len(node)) if (key, number) not in rows]
                kept[key] = [node[number] for number in numbers]
                self._unread_words.update(*(_words(node[number]) for number in set(range(len(node))) - set(numbers)))
                self._numbers[name, key] = numbers
            elif isinstance(node, dict):
                kept[key] = {entry: value for entry, value in node.items() if (key, entry) not in rows}
                self._unread_words.update(*(_words({e: v}) for e, v in node.items() if (key, e) in rows))
        return kept

    def place(self, findings: Iterable[Finding]) -> None:
        """Turn findings into problems at their lines."""
        for finding in findings:
            if finding.absent and self._may_be_unread(finding):
                continue
            path = finding.path
            numbers = self._numbers.get((finding.file, path[0]))
            if numbers is not None and isinstance(path[1], int):
                path = (path[0], numbers[path[1]], *path[2:])
            problem = self.sources[finding.file].problem(path, finding.value, finding.message, finding.severity)
            (self.warnings if finding.severity == "warning" else self.errors).append(problem)

    def _may_be_unread(self, finding: Finding) -> bool:
        """Whether what is missed may stand in rows that could not be read, which are reported already."""
        if self._unread or str(finding.value) in self._unread_words:
            return True
        return checks.CN_GW in self._unread_files and finding.path[-1] == "destaddr"


def _words(node: object) -> set[str]:
    """Every name and value in a piece of a document."""
    if isinstance(node, dict):
        return {str(key) for key in node}.union(*map(_words, node.values()))
    if isinstance(node, list):
        return set().union(*map(_words, node))
    return {str(node)}
