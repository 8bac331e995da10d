"""The bytes of a file as a tree for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stgvcodec.bitstream.container.anatomy import ChunkPiece
from stgvcodec.bitstream.container.chunks import ChunkType
from stgvcodec.bitstream.syntax.pieces import Piece

# A long film has tens of thousands of chunks. Behind these, only what is damaged has nodes of its own.
_MOST_NODES = 5000
# Long values, such as the sizes of all packets of a chunk, are cut.
_MOST_CHARACTERS = 100


def byte_tree(
    chunks: Sequence[ChunkPiece], payloads: Mapping[int, Sequence[Piece]], most_chunks: int
) -> list[dict[str, Any]]:
    """Return the tree, a node for each piece of the file.

    Args:
        chunks: The bytes of the file, front to back.
        payloads: Pieces of GoPs' payloads down to their models, by the offset of the GoP's chunk.
        most_chunks: Number of chunks of a kind that are taken apart, from the first on. Chunks of `payloads`, and those
            that are damaged, always are.
    """
    seen: dict[int, int] = {}
    tree: list[dict[str, Any]] = []
    for piece, chunk in chunks:
        kind = -1 if chunk is None else chunk.type
        seen[kind] = seen.get(kind, 0) + 1
        detail = payloads.get(piece.first)
        if chunk is not None and chunk.type == ChunkType.GOP and detail is not None:
            # The pieces of the payload come between the table GOP_CHUNK and the CRC, which stand as they are.
            header, timing, *_, tail = piece.children
            node = _node(piece, (header, timing, *detail, tail))
        else:
            is_shown = seen[kind] <= most_chunks or piece.crc is False
            node = _node(piece, piece.children if is_shown else ())
        if chunk is not None and chunk.type == ChunkType.GOP:
            node["value"] = str(seen[kind] - 1)
        if len(tree) < _MOST_NODES or piece.crc is False or piece is chunks[-1].piece:
            tree.append(node)
        elif tree[-1].get("rest"):
            tree[-1]["rest"] += 1
            tree[-1]["bytes"] += piece.n_bytes
        else:
            tree.append({"name": "", "first": piece.first, "bytes": piece.n_bytes, "rest": 1})
    return tree


def _node(piece: Piece, children: Sequence[Piece]) -> dict[str, Any]:
    node: dict[str, Any] = {"name": piece.name, "first": piece.first, "bytes": piece.n_bytes}
    if piece.section:
        node["section"] = piece.section
    if piece.value is not None:
        node["value"] = _shown(piece.value)
    if piece.crc is not None:
        node["crc"] = piece.crc
    if piece.note:
        node["note"] = piece.note
    if children:
        node["children"] = [_node(child, child.children) for child in children]
    return node


def _shown(value: object) -> str:
    text = " ".join(map(_shown, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "\u2026"
