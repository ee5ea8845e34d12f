"""Jinja environment of the HTML pages: self-contained files with a common style sheet."""

import base64
from importlib.resources import files

import jinja2
from markupsafe import Markup


def environment() -> jinja2.Environment:
    """For templates that write `{{ style }}` between their <style> marks."""
    jinja_environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    jinja_environment.globals["style"] = Markup(
        files("edgedistill.report").joinpath("page.css").read_text("utf-8")
    )
    return jinja_environment


def data_uri(png: bytes) -> str:
    """A PNG as the `src` of an image."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
