"""A library for plugins in Python: reads files, collects errors with their places, makes workspaces with default settings.

The rules of the template are in `app.py`. Copy this file and change it as you like.
"""

import json
import re

from componentize_py_types import Err
from wit_world.exports import importer
from wit_world.imports import template_files

_WHY = {
    template_files.FileError_NotFound: "it is not there",
    template_files.FileError_InvalidPath: "its path leads out of the template",
    template_files.FileError_WrongKind: "it is a folder",
    template_files.FileError_TooLarge: "it is larger than 8 MiB",
}


class Problems:
    """Collects the errors of a template, so that its author sees all of them together."""

    def __init__(self):
        self._found = []

    def add(self, code, message, file, line=0, help=None):
        """Adds an error. `line` counts from 1, and 0 means unknown. A message must not contain a variable's value."""
        place = importer.Place(file, line, 0)
        self._found.append(importer.Diagnostic(code, message, place, None, None, help))

    def refuse(self):
        """Ends the import when there are errors."""
        if self._found:
            raise Err(self._found)


def read_text(path, problems):
    """Reads a text file of the template. The import ends when the file cannot be read."""
    try:
        return template_files.read(path).decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problems.add("not-utf-8", "this file is not UTF-8 text", path, line)
    except Err as error:
        why = _WHY.get(type(error.value)) or f"the system says: {error.value.value}"
        problems.add("file-unreadable", f"{path} cannot be read: {why}", path)
    problems.refuse()


def slug(name):
    """Makes a slug: `Dev Lead (EU)` becomes `dev-lead-eu`. Empty when the name has no ASCII letters or digits."""
    return "-".join(re.findall("[a-z0-9]+", name.lower()))[:63].strip("-")


def workspace(name, parent, request, *, role="", runtime="claude-code", model=None, tier=2, files=(), canvas=(0.0, 0.0)):
    """A workspace. `parent` is the key of its parent, or None. `files` are more seed files, besides config.yaml."""
    own = slug(name)
    config = [f"name: {_yaml(name)}", f"description: {_yaml(role)}", 'version: "1.0.0"']
    config += [f"tier: {tier}", f"runtime: {_yaml(runtime)}"]
    if model:
        config.append(f"model: {_yaml(model)}")
    seeded = [seed("config.yaml", "\n".join(config) + "\n"), *files]
    return importer.Workspace(
        key=f"{parent}/{own}" if parent else own,
        parent=parent,
        name=name,
        role=role,
        runtime=runtime,
        model=model or None,
        tier=tier,
        external=False,
        url=None,
        workspace_dir=None,
        workspace_access=importer.WorkspaceAccess.NONE,
        plugins=[],
        files=sorted(seeded, key=lambda file: file.path),
        # Every workspace gets the operator's variables. They may be secrets.
        env=[importer.EnvVar(v.name, v.value, True) for v in request.environment.vars],
        schedules=[],
        channels=[],
        skipped_channels=[],
        memories=[],
        max_concurrent_tasks=1,
        canvas=importer.Canvas(*canvas),
    )


def seed(path, text):
    """A seed file, which the host writes under `/configs` with this text."""
    return importer.SeedFile(path, importer.Content_Inline(text.encode("utf-8")), False)


def plan(name, workspaces, description="", warnings=()):
    """The plan. A parent must come before its children."""
    return importer.Plan(importer.Org(name, description), list(workspaces), [], [], list(warnings))


def _yaml(text):
    # A JSON string is also a YAML string.
    return json.dumps(text, ensure_ascii=False)
