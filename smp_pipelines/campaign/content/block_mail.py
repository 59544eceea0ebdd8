"""Blocks as a mail: MJML from the blocks of a step, in the project's layout or in a plain one.

The layout is campaigns/_layout/mail.mjml with `<smp-blocks />` inside its <mj-body>, where the blocks come as
sections. It gives them their looks by these names of <mj-class>: heading, subheading, product-section, product
(its column), product-title, product-fact and product-button; buttons have the css-class button.
"""

from __future__ import annotations

import html
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

from smp_pipelines.campaign.blocks import Block, ButtonBlock, FormBlock, HtmlBlock, ImageBlock, ProductBlock, TextBlock
from smp_pipelines.campaign.content.block_page import media_path
from smp_pipelines.campaign.content.markdown import Piece
from smp_pipelines.campaign.content.markup import Source, line_of, read_source
from smp_pipelines.campaign.content.pictures import picture_size
from smp_pipelines.campaign.content.writing import LAYOUT, Writer, tag
from smp_pipelines.campaign.project import LoadedProject, StepRef
from smp_pipelines.problems import Problem, ProjectError

_PLACE = re.compile(r"<smp-blocks\s*/>|<smp-blocks>\s*</smp-blocks>")
_WIDEST = 536
"""Pixels: how wide a picture is at most in a mail of 600."""
_HEADING = 'style="margin:0;font:inherit;color:inherit"'
_LIST = "margin:0;padding-left:1.4em"
_FLAT = {"p": "margin:0", "ul": _LIST, "ol": _LIST, "li": "margin:0 0 .3em", "blockquote": "margin:0 0 0 1em"}


def mail_source(ref: StepRef, project: LoadedProject) -> Source:
    """The MJML of a step's mail: its blocks in the layout. Raises ProjectError when a file cannot be used."""
    writer = Writer(ref, project)
    own = project.campaigns_folder / LAYOUT
    default = resources.files("smp_pipelines.campaign.content") / "layout" / "mail.mjml"
    file = own if own.is_file() else Path(str(default))
    folder = project.campaigns_folder if own.is_file() else file.parent
    source = read_source(file, folder, writer.parameters)
    if len(_PLACE.findall(source.text)) != 1:
        remedy = "put <smp-blocks /> once inside <mj-body>"
        lines = [line_of(source.parts[file], match.start()) for match in _PLACE.finditer(source.parts[file])]
        line = lines[1] if lines[1:] else None
        raise ProjectError([Problem(file, line, "this layout has not one place for the blocks", remedy)])
    blocks = "\n".join(_with_condition(writer, block) for block in ref.step.blocks)
    return replace(source, text=_PLACE.sub(lambda _match: blocks, source.text))


def _with_condition(writer: Writer, block: Block) -> str:
    before, after = (_raw(each) for each in writer.condition(block))
    return f"{before}{_written(writer, block)}{after}"


def _written(writer: Writer, block: Block) -> str:
    match block:
        case TextBlock():
            return _section("\n".join(_text(piece) for piece in writer.markdown(block.text)))
        case ImageBlock():
            return _section(_image(writer, block))
        case ButtonBlock():
            return _section(_button(writer, block.text, block.url))
        case ProductBlock():
            return _product(writer, block)
        case HtmlBlock():
            return _section(f"<mj-text>{writer.file(block)}</mj-text>")
        case FormBlock():
            return ""


def _section(inner: str) -> str:
    return f"<mj-section><mj-column>\n{inner}\n</mj-column></mj-section>"


def _raw(inner: str) -> str:
    return f"<mj-raw>{inner}</mj-raw>" if inner else ""


def _text(piece: Piece) -> str:
    if piece.tag == "control":
        return _raw(piece.html)
    if piece.tag == "h1":
        return f'<mj-text mj-class="heading" css-class="heading"><h1 {_HEADING}>{piece.inner}</h1></mj-text>'
    if piece.tag in ("h2", "h3", "h4", "h5", "h6"):
        return f'<mj-text mj-class="subheading"><{piece.tag} {_HEADING}>{piece.inner}</{piece.tag}></mj-text>'
    if piece.tag == "hr":
        return "<mj-divider />"
    # mail programs have margins of their own; those of the layout count
    flat = piece.html
    for element, style in _FLAT.items():
        flat = flat.replace(f"<{element}>", f'<{element} style="{style}">')
    return f"<mj-text>{flat}</mj-text>"


def _button(writer: Writer, text: str, url: str, look: str = "") -> str:
    return f'<mj-button {look}css-class="button" href="{writer.address(url)}">{writer.text(text)}</mj-button>'


def _image(writer: Writer, block: ImageBlock) -> str:
    source = html.escape("{{ site_url }}") + media_path(writer.ref.campaign, block.file)
    size = picture_size(writer.ref.folder / block.file)
    width = f' width="{min(size[0], _WIDEST)}px"' if size else ""
    link = f' href="{writer.address(block.url)}"' if block.url else ""
    return f'<mj-image src="{source}" alt="{writer.text(block.alt)}"{width}{link} />'


def _product(writer: Writer, block: ProductBlock) -> str:
    rows = [f'<mj-text mj-class="product-title"><h2 {_HEADING}>{writer.title(block)}</h2></mj-text>']
    for fact in writer.facts(block):
        text = f'<mj-text mj-class="product-fact">{fact.text}</mj-text>'
        rows.append(f"{_raw(tag(f'if {fact.test}'))}{text}{_raw(tag('endif'))}")
    if block.text and block.url:
        rows.append(_button(writer, block.text, block.url, 'mj-class="product-button" '))
    inner = "\n".join(rows)
    column = f'<mj-column mj-class="product">\n{inner}\n</mj-column>'
    return f'<mj-section mj-class="product-section">\n{column}\n</mj-section>'
