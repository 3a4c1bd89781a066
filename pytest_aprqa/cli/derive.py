"""`aprqa derive`: make the GGUF or APR form of a SafeTensors model, in the work cache or as a file of its own."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import click

_FALLBACKS_SHOWN = 3
_STEPS_SHOWN = 20  # the line of a tensor is rewritten at most about this often


@click.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--format", "format_name", type=click.Choice(["gguf", "apr"]), required=True, help="Format to make.")
@click.option(
    "--dtype",
    help="Stored type: native (default), f32, f16, bf16; for GGUF q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k; "
    "for APR q8, q4, q4_k, q6_k.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="New file; without it the cached one is named.")
@click.option("--force", is_flag=True, help="Replace an existing output file.")
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
def command(source: Path, format_name: str, dtype: str | None, output: Path | None, force: bool, as_json: bool) -> None:
    """Make the GGUF or APR form of the SafeTensors model in folder SOURCE.

    The conversion is kept in the work cache by content: the same source and options are converted once.
    Example: aprqa derive ~/models/acme/Model-1B --format gguf --dtype q8_0
    """
    from pytest_aprqa.lifecycle.cache import cache_folder
    from pytest_aprqa.lifecycle.derive import derive

    if output is not None and output.is_dir():
        output = output / f"model.{format_name}"
    if output is not None and output.exists() and not force:
        raise click.ClickException(f"{output}: exists already; name a new file or add --force")
    with _Progress() as progress:
        artifact = derive(source, format_name, cache=cache_folder(), dtype=dtype, progress=progress)
    _name_fallbacks(artifact.path, dtype)
    path = artifact.path
    if output is not None:
        _copy_whole(artifact.path, output)
        path = output
    if as_json:
        facts = {"path": str(path), "bytes": path.stat().st_size, "sha256": artifact.sha256}
        click.echo(
            json.dumps(facts | {"source_sha256": artifact.source_sha256, "converter": artifact.converter}, indent=2)
        )
        return
    click.echo(f"{path} ({path.stat().st_size} bytes, sha256 {artifact.sha256})")


def _name_fallbacks(path: Path, dtype: str | None) -> None:
    """Say on standard error which matrices are not of the quantised type that was asked for: never in silence."""
    from pytest_aprqa.formats.codecs import QUANTISED
    from pytest_aprqa.formats.opening import open_tensor_file

    with open_tensor_file(path) as file:
        wanted = {dtype.upper(), f"APR_{dtype.upper()}"} & QUANTISED if dtype else set()
        matrices = [entry for entry in file.entries.values() if len(entry.shape) > 1]
        others = [entry for entry in matrices if wanted and entry.dtype not in wanted]
    if others:
        shown = ", ".join(f"{entry.name} {entry.dtype}" for entry in others[:_FALLBACKS_SHOWN])
        more = f" and {len(others) - _FALLBACKS_SHOWN} more" if len(others) > _FALLBACKS_SHOWN else ""
        what = f"{len(others)} of {len(matrices)} matrices are not {dtype}, their rows are not whole blocks"
        click.echo(f"warning: {what}: {shown}{more}", err=True)


def _copy_whole(source: Path, target: Path) -> None:
    """Copy so that TARGET is either whole or as before."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    try:
        shutil.copyfile(source, name)
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class _Progress:
    """Says on standard error what is being converted and how far: one rewritten line, on a terminal only."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last: tuple[str, int] | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        step = done * _STEPS_SHOWN // total if total else 0
        if not self._terminal or (what, step) == self._last:
            return
        self._last = (what, step)
        percent = f" {100 * done // total} %" if total else ""
        click.echo(f"\r\x1b[K{what}{percent}", err=True, nl=False)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._last is not None:
            click.echo("\r\x1b[K", err=True, nl=False)
