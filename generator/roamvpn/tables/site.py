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
    if table is not None:
        # without a readable CN-GW table every destination would be reported as well
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

    def document(self, name: str, model: type[_Model]) -> _Model | None:
        source = self.sources.get(name)
        if source is None:
            return None
        try:
            return model.model_validate(source.parse())
        except InputError as error:
            self.errors.extend(error.problems)
        except ValidationError as error:
            self.errors.extend(source.problems(error, hide_values=model is Secrets))
        return None

    def place(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            source = self.sources[finding.file]
            problem = source.problem(finding.path, finding.value, finding.message, finding.severity)
            (self.warnings if finding.severity == "warning" else self.errors).append(problem)
