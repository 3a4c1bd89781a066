"""The model of one playbook: where it is, its artifact in each format (published or derived), opened once."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pytest_aprqa.models.artifact import Artifact, OpenArtifact
    from pytest_aprqa.models.location import ModelLocation
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.run_settings import RunSettings

T = TypeVar("T")
GROUND_TRUTH = "safetensors"


class FormatNotAvailable(RuntimeError):
    """The model has no file of this format and there is no SafeTensors source to derive it from."""


class ModelUnderTest:
    """Lazy and memoised: each question is answered once per process, failures included."""

    def __init__(
        self,
        playbook: Playbook,
        settings: RunSettings,
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.playbook = playbook
        self.settings = settings
        self._on_progress = on_progress
        self._answers: dict[tuple[str, ...], Any] = {}
        self._open_files = contextlib.ExitStack()
        self._work: tempfile.TemporaryDirectory[str] | None = None

    def _once(self, key: tuple[str, ...], compute: Callable[[], T]) -> T:
        if key not in self._answers:
            try:
                self._answers[key] = compute()
            except (OSError, ValueError, RuntimeError) as error:
                self._answers[key] = error
        answer = self._answers[key]
        if isinstance(answer, Exception):
            raise answer.with_traceback(None)
        return answer  # type: ignore[no-any-return]

    @property
    def location(self) -> ModelLocation:
        """Where the model is. Raises ModelNotFound with every place that was looked at."""
        return self._once(("location",), self._locate)

    def _locate(self) -> ModelLocation:
        from pytest_aprqa.models.location import locate_model

        return locate_model(
            self.playbook.model.hf_repo,
            model_path=self.settings.model_path,
            model_cache=self.settings.model_cache,
            local_path=self.playbook.model.local_path,
            environ=os.environ,
        )

    def tell(self, text: str) -> None:
        """Say what takes long now, and how far it is."""
        self._on_progress(text)

    def source(self) -> Artifact:
        """The ground truth: SafeTensors of `--against`, else of the model. Raises FormatNotAvailable, ModelError."""
        if self.settings.against is None:
            return self.artifact(GROUND_TRUTH)
        return self._once(("source",), self._find_source)

    def _find_source(self) -> Artifact:
        from pytest_aprqa.models.artifact import describe_artifact

        return describe_artifact(self.source_of_against(), GROUND_TRUTH, origin="published")

    def source_of_against(self) -> Path:
        """The SafeTensors file in the folder of `--against`, which is given. FormatNotAvailable: there is none."""
        from pytest_aprqa.models.location import find_artifact_file

        folder = self.settings.against
        assert folder is not None
        found = find_artifact_file(folder, GROUND_TRUTH) if folder.exists() else None
        if found is None:
            raise FormatNotAvailable(f"--against {folder}: no SafeTensors model there")
        return found

    def opened_source(self) -> OpenArtifact:
        """The ground truth, opened by its own declaration, kept open for the process."""
        if self.settings.against is None:
            return self.opened(GROUND_TRUTH)
        return self._once(("open source",), self._open_source)

    def _open_source(self) -> OpenArtifact:
        from pytest_aprqa.models.artifact import open_artifact

        return self._open_files.enter_context(open_artifact(self.source()))

    def artifact(self, format_name: str) -> Artifact:
        """The file of a format. Raises FormatNotAvailable, or the error of the conversion that should have made it."""
        return self._once(("artifact", format_name), lambda: self._find_or_derive(format_name))

    def _find_or_derive(self, format_name: str) -> Artifact:
        from pytest_aprqa.models.artifact import describe_artifact
        from pytest_aprqa.models.location import find_artifact_file

        folder = self.location.folder
        published = find_artifact_file(folder, format_name)
        if published is not None:
            return describe_artifact(published, format_name, origin="published")
        source = find_artifact_file(folder, GROUND_TRUTH)
        if format_name == GROUND_TRUTH or source is None:
            raise FormatNotAvailable(f"Format {format_name.capitalize()} not available for model file {folder}")
        from pytest_aprqa.lifecycle.derive import derive

        def progress(*event: object) -> None:
            self._on_progress(f"deriving {format_name} from safetensors: {' '.join(map(str, event))}")

        self._on_progress(f"deriving {format_name} from safetensors")
        try:
            return derive(_source_folder(source), format_name, cache=_work_cache(), progress=progress)
        except (OSError, ValueError, RuntimeError):
            problem = self.source_problem()
            if problem is None:
                raise
            # The finding is filed with the source; the format that could not be made from it was not tried.
            raise FormatNotAvailable(
                f"{format_name} cannot be derived, the SafeTensors source is not sound: {problem}"
            ) from None

    def source_problem(self) -> str | None:
        """Why the SafeTensors source cannot be read by its own declaration, or None."""
        try:
            source = self.opened(GROUND_TRUTH)
            _ = (source.config, source.tokenizer, source.tensors)
        except (OSError, ValueError, RuntimeError) as error:
            return str(error)
        return None

    def opened(self, format_name: str) -> OpenArtifact:
        """The artifact of a format, opened by its own declaration, kept open for the process."""
        return self._once(("open", format_name), lambda: self._open(format_name))

    def _open(self, format_name: str) -> OpenArtifact:
        from pytest_aprqa.models.artifact import open_artifact

        return self._open_files.enter_context(open_artifact(self.artifact(format_name)))

    @contextlib.contextmanager
    def converted(self, path: tuple[str, ...], dtype: str = "native") -> Iterator[OpenArtifact]:
        """The end of a path of formats, opened; its first is the artifact itself. Each conversion is made once.

        Raises the errors of the conversion.
        """
        from pytest_aprqa.models.artifact import open_artifact

        with open_artifact(self._converted(path, dtype)) as artifact:
            yield artifact

    def _converted(self, path: tuple[str, ...], dtype: str) -> Path:
        from pytest_aprqa.lifecycle.conversion_paths import convert_once

        if len(path) == 1:
            return self.artifact(path[0]).path

        def compute() -> Path:
            before = self._converted(path[:-1], "native")
            self._on_progress(f"converting {' -> '.join(path)}")
            if self._work is None:
                self._work = tempfile.TemporaryDirectory(prefix="aprqa-conversions-")
            return convert_once(before, path[-1], Path(self._work.name) / "-".join((*path, dtype)), dtype=dtype)

        return self._once(("converted", *path, dtype), compute)

    def close(self) -> None:
        """Close every opened file."""
        self._open_files.close()
        self._answers.clear()
        if self._work is not None:
            self._work.cleanup()
            self._work = None


def _source_folder(source: Path) -> Path:
    return source if source.is_dir() else source.parent


def _work_cache() -> Path:
    from pytest_aprqa.lifecycle.cache import cache_folder

    return cache_folder()
