"""The command line. Exit codes: 0 fine, or no changes; 2 changes (`plan`, `diff`); 1 an error."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click
from click.shell_completion import get_completion_class

from roamvpn import __version__
from roamvpn.console import Console
from roamvpn.engine import Engine, open_revision, open_site
from roamvpn.plan.compare import compare
from roamvpn.plan.graph import fleet_graph
from roamvpn.plan.graph_mermaid import mermaid
from roamvpn.plan.graph_svg import svg
from roamvpn.plan.report import PlanReport, diff_text, markdown, report
from roamvpn.plan.sides import Nothing
from roamvpn.policy.views import tables
from roamvpn.schemas import SCHEMAS, schema_text
from roamvpn.simulate import simulate
from roamvpn.stores.bundles import BundleSide, write_bundles
from roamvpn.stores.secrets_file import complete_secrets
from roamvpn.stores.site_directory import find_site, read_site
from roamvpn.stores.templates import example_site
from roamvpn.stores.tree import DirectorySide, write_file, write_tree
from roamvpn.tables.checks import SECRETS
from roamvpn.tables.problems import InputError, RoamvpnError
from roamvpn.tables.site import load_site

if TYPE_CHECKING:
    from collections.abc import Iterable

    from roamvpn.plan.sides import Side

CHANGES = 2
_DIRECTORY = click.Path(path_type=Path)
_SITE = click.argument("site", required=False, type=_DIRECTORY)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
_LIMIT = click.option("--limit", "-l", multiple=True, metavar="GATEWAY", help="Only this gateway; may be repeated.")


class _Lazy(click.Group):
    """Commands of daemons are imported when they are asked for: their libraries take longer than a plan."""

    daemons: ClassVar = {
        "aaa": "roamvpn.aaa.command",
        "agent": "roamvpn.agent.command",
        "hook": "roamvpn.agent.hook_command",
        "mn": "roamvpn.mobile.command",
        "status": "roamvpn.agent.command",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them."""
        return sorted({*super().list_commands(ctx), *self.daemons})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """By name, from its module."""
        module = self.daemons.get(cmd_name)
        if module is None:
            return super().get_command(ctx, cmd_name)
        found: click.Command = getattr(import_module(module), cmd_name)
        return found


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="roamvpn")
def cli() -> None:
    """Configuration for VPNs that follow roaming users.

    A SITE is a directory with network.yml, vpn_database.yml and cn_gw_table.yml, and optionally sessions.yml,
    policy_tests.yml and secrets.yml. Left out, it is this directory or the only one below inventory/.

    \b
    A first round:
      roamvpn init mysite         copy the example network
      roamvpn secrets mysite      generate its keys
      roamvpn check mysite        does everything hold together?
      roamvpn render mysite -o out
      (edit mysite/vpn_database.yml)
      roamvpn plan mysite --against out
      roamvpn graph mysite -o fleet.svg
    """


@cli.command()
@_SITE
@_JSON
def check(site: Path | None, *, as_json: bool) -> None:
    """Check all tables, and the assertions of policy_tests.yml.

    All problems are printed at once, each with file, line, field and value. Exits 1 if there is one;
    warnings alone do not fail.
    """
    console = Console()
    directory = find_site(site)
    try:
        engine = open_site(directory)
    except InputError as error:
        if as_json:
            rows = [{slot: getattr(problem, slot) for slot in problem.__slots__} for problem in error.problems]
            click.echo(json.dumps({"ok": False, "problems": rows}, indent=1))
            sys.exit(1)
        raise
    if as_json:
        click.echo(json.dumps({"ok": True, "problems": [], "warnings": engine.warnings}, indent=1))
        return
    console.warnings(engine.warnings)
    known = engine.site.tables
    legs = sum(len(state.legs) for state in engine.fleet.states.values())
    console.good(
        f"{directory}: {len(engine.fleet.states)} gateways, {len(known.subscribers)} subscribers, "
        f"{len(known.records)} VPN records, {len(engine.fleet.sessions)} sessions, {legs} legs; "
        f"{len(engine.site.policy_tests)} policy tests hold"
    )


@cli.command()
@_SITE
@click.option("--against", type=_DIRECTORY, metavar="DIR", help="Compare with a rendered directory.")
@click.option("--since", metavar="REV", help="Compare with the inventory of a git revision.")
@click.option("--bundles", type=_DIRECTORY, metavar="DIR", help="Compare with bundles fetched from the gateways.")
@_LIMIT
@_JSON
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a comment on a pull request.")
@click.option("--summary", "only_summary", is_flag=True, help="Print the summary line only.")
def plan(  # noqa: PLR0913 - one parameter an option
    site: Path | None,
    against: Path | None,
    since: str | None,
    bundles: Path | None,
    limit: tuple[str, ...],
    *,
    as_json: bool,
    as_markdown: bool,
    only_summary: bool,
) -> None:
    """Show what would change on which gateway.

    Compares what the tables ask for with what is deployed: a directory written by `render` (--against),
    the same inventory at a git revision (--since main: what would this branch change?), or bundles
    (--bundles). With none of them, with nothing: everything is new. Changes nothing.

    Exits 0 without changes, 2 with changes, 1 on an error. Secrets are shown as keyed fingerprints: a
    rotated key is one changed line.
    """
    if len([choice for choice in (against, since, bundles) if choice is not None]) > 1:
        raise RoamvpnError("--against, --since and --bundles exclude each other")
    console = Console()
    directory = find_site(site)
    engine = open_site(directory)
    before, name = _before(engine, directory, against, since, bundles)
    _finish(_planned(console, engine, before, name, limit), console, as_json, as_markdown, only_summary)


def _before(
    engine: Engine, directory: Path, against: Path | None, since: str | None, bundles: Path | None
) -> tuple[Side, str]:
    if since is not None:
        return open_revision(directory, since, engine.site.secrets).side, since
    if bundles is not None:
        return BundleSide(bundles, engine.fingerprint_key), str(bundles)
    if against is not None:
        if not against.is_dir():
            raise RoamvpnError(f"{against}: no such directory; `roamvpn render -o {against}` writes one")
        return DirectorySide(against, engine.fingerprint_key), str(against)
    return Nothing(), "nothing"


def _planned(console: Console, engine: Engine, before: Side, name: str, limit: Iterable[str]) -> PlanReport:
    names = sorted(set(before.gateways()) | set(engine.fleet.states))
    chosen = _limited(names, limit)
    secrets_known = engine.site.secrets is not None
    with console.progress("planning", len(chosen)) as step:
        result = compare(before, engine.side, chosen, step, secrets=secrets_known)
    warnings = engine.warnings
    if not secrets_known:
        warnings.append(f"no {SECRETS}: secrets are not compared")
    return report(
        result, site=engine.site.tables.network.site, against=name, warnings=warnings, mask_key=engine.fingerprint_key
    )


def _limited(names: list[str], limit: Iterable[str]) -> list[str]:
    wanted = list(limit)
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise RoamvpnError(f"--limit: no gateway {', '.join(map(ascii, unknown))}; there are {', '.join(names)}")
    return [name for name in names if name in wanted] if wanted else names


def _finish(result: PlanReport, console: Console, as_json: bool, as_markdown: bool, only_summary: bool) -> None:  # noqa: FBT001
    if as_json:
        click.echo(result.model_dump_json(indent=1, by_alias=True))
    elif as_markdown:
        click.echo(markdown(result), nl=False)
    else:
        if not only_summary:
            console.diff(diff_text(result))
        console.warnings(result.warnings)
        console.summary(result.summary.text)
    sys.exit(CHANGES if result.changed else 0)


@cli.command()
@click.argument("old", type=_DIRECTORY)
@click.argument("new", type=_DIRECTORY)
@_LIMIT
@_JSON
def diff(old: Path, new: Path, limit: tuple[str, ...], *, as_json: bool) -> None:
    """Compare two rendered directories, OLD and NEW, without any inventory.

    Exits 0 where they are the same, 2 where they differ, 1 on an error. Secrets are hidden.
    """
    console = Console()
    for directory in (old, new):
        if not directory.is_dir():
            raise RoamvpnError(f"{directory}: no such directory")
    before, after = DirectorySide(old), DirectorySide(new)
    chosen = _limited(sorted(set(before.gateways()) | set(after.gateways())), limit)
    result = report(compare(before, after, chosen), site=str(new), against=str(old), warnings=[], mask_key=None)
    _finish(result, console, as_json, as_markdown=False, only_summary=False)


@cli.command()
@_SITE
@click.option("--out", "-o", type=_DIRECTORY, required=True, metavar="DIR", help="Where to write the tree.")
@click.option("--bundles", type=_DIRECTORY, metavar="DIR", help="Also write a <gateway>.tar for each gateway here.")
def render(site: Path | None, out: Path, bundles: Path | None) -> None:
    """Write every gateway's files to a directory, all of them or none.

    The new tree is written beside the old one and the two are exchanged in one step. Files that do not
    change are not rendered again. Secrets stand in files of their own, mode 0600.
    """
    console = Console()
    engine = open_site(find_site(site))
    if engine.site.secrets is None:
        raise RoamvpnError(f"no {SECRETS}: `roamvpn secrets` generates the keys that the files need")
    console.warnings(engine.warnings)
    with console.progress("rendering", len(engine.fleet.states)) as step:
        written = write_tree(out, engine.side, engine.site.tables.network.site, step)
    console.good(f"{out}: {len(engine.fleet.states)} gateways, {written.rendered} files written, {written.kept} kept")
    if bundles is not None:
        count = len(write_bundles(out, bundles))
        console.good(f"{bundles}: {count} bundles")


@cli.command()
@_SITE
def secrets(site: Path | None) -> None:
    """Generate the keys that are missing from SITE/secrets.yml.

    The site key, which seeds users' generated keys, and the keys of every SLA association in use. Keys
    that are there stay. Those of a real SLA are agreed with the enterprise: put them in by hand. The file
    is created with mode 0600; keep it out of git, or encrypt it with ansible-vault.
    """
    console = Console()
    directory = find_site(site)
    loaded = load_site(read_site(directory, with_secrets=False))
    path = directory / SECRETS
    added = complete_secrets(path, loaded.tables)
    for name in added:
        console.note(f"generated {name}")
    count = "1 key" if len(added) == 1 else f"{len(added)} keys"
    console.good(f"{path}: {count} generated" if added else f"{path}: complete")


@cli.command()
@_SITE
@click.option("--out", "-o", type=_DIRECTORY, metavar="FILE", help="Write to this file: .svg, or .mmd for Mermaid.")
@click.option("--mermaid", "as_mermaid", is_flag=True, help="Print Mermaid instead of SVG.")
def graph(site: Path | None, out: Path | None, *, as_mermaid: bool) -> None:
    """Draw the fleet: gateways by domain, tunnels between them by kind and class.

    Visited domains stand left, the home in the middle, correspondents right. Thick lines are associations that
    gateways share, dashed ones are not protected. Above 40 gateways, whole domains are drawn.
    """
    engine = open_site(find_site(site))
    drawn = fleet_graph(engine.site.tables.network, engine.fleet)
    if out is not None and out.suffix not in (".svg", ".mmd"):
        raise RoamvpnError(f"{out}: name a file that ends in .svg or .mmd")
    text = mermaid(drawn) if as_mermaid or (out is not None and out.suffix == ".mmd") else svg(drawn)
    if out is None:
        click.echo(text, nl=False)
        return
    write_file(out, text)
    Console().good(f"{out}: {drawn.summary}")


@cli.command()
@click.argument("gateway")
@_SITE
@_JSON
def show(gateway: str, site: Path | None, *, as_json: bool) -> None:
    """Show the tables of one GATEWAY: IPsec information, routes, QoS filters.

    Read off the compiled state: who is sent where, by which tunnel, with which protection, mark and class. A
    shared row stands once, however many users lean on it.
    """
    engine = open_site(find_site(site))
    state = engine.fleet.states.get(gateway)
    if state is None:
        raise RoamvpnError(f"no gateway {gateway!a}; there are {', '.join(engine.fleet.states)}")
    if as_json:
        found = {title: [dict(zip(heads, row, strict=True)) for row in rows] for title, heads, rows in tables(state)}
        click.echo(json.dumps({"gateway": gateway, "references": state.references, **found}, indent=1))
        return
    console = Console()
    for title, heads, rows in tables(state):
        console.table(f"{gateway}: {title}", heads, rows)
    console.table(f"{gateway}: shared, by users", ("peer", "users"), [(k, str(v)) for k, v in state.references.items()])


@cli.command()
@click.argument("name", type=click.Choice(sorted(SCHEMAS)))
def schema(name: str) -> None:
    """Print the JSON Schema of an input file, the manifest or the plan.

    An editor that knows YAML schemas checks and completes the inputs with them.
    """
    click.echo(schema_text(name), nl=False)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script for SHELL.

    \b
      roamvpn completion bash > ~/.local/share/bash-completion/completions/roamvpn
      roamvpn completion zsh > "${fpath[1]}/_roamvpn"
      roamvpn completion fish > ~/.config/fish/completions/roamvpn.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise RoamvpnError(f"no completion for {shell}")
    click.echo(kind(cli, {}, "roamvpn", "_ROAMVPN_COMPLETE").source())


@cli.command()
@click.argument("directory", type=_DIRECTORY)
def init(directory: Path) -> None:
    """Copy the example network to DIRECTORY, to start a site of your own from.

    Two visited ISPs, a home ISP, an ISP of correspondents and an enterprise with a static gateway; ten users that
    between them have every kind of VPN. Change what you need, then `roamvpn check DIRECTORY`.
    """
    console = Console()
    if directory.exists() and any(directory.iterdir()):
        raise RoamvpnError(f"{directory}: is not empty")
    directory.mkdir(parents=True, exist_ok=True)
    for path in sorted(example_site().glob("*.yml")):
        if path.name != SECRETS:
            (directory / path.name).write_text(path.read_text())
            console.note(f"{directory / path.name}")
    console.good(f"next: roamvpn secrets {directory}; roamvpn check {directory}")


cli.add_command(simulate)


def main() -> None:
    """Run the command line, with one clear message for every error that a user can cause."""
    try:
        code = cli.main(prog_name="roamvpn", standalone_mode=False)
    except InputError as error:
        Console().problems(error.problems)
        code = 1
    except RoamvpnError as error:
        Console().error(str(error))
        code = 1
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        # click's own code for wrong usage is 2, which means changes here
        code = 1
    except BrokenPipeError:
        # the reader went away, as `| head` does
        sys.stderr.close()
        code = 1
    except OSError as error:
        Console().error(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "))
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
