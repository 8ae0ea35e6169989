"""What each verb tells people. Only makes lines of text; ``--json`` does not come here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import one_line
from ..model import Artifact, Manifest, Proof
from ..units import show_duration, show_size, to_text
from .style import WIDTH, Style, counted, pairs, table, wrapped


def backup(manifest: Manifest) -> list[str]:
    """A backup that was just made."""
    return pairs(
        [
            ("backup", manifest.id),
            ("type", manifest.type),
            ("stored", _stored(manifest)),
            ("proof", _proof(manifest.proof)),
            ("took", show_duration(manifest.duration_seconds)),
            *(("note", note) for note in manifest.notes),
        ]
    )


def plan(facts: Mapping[str, Any]) -> list[str]:
    """What a dry run of backup or restore says it would do."""
    return ["nothing is changed; this would be done:", *document(facts)]


def document(facts: Mapping[str, Any]) -> list[str]:
    """A flat document for people: one line for each key that has a value."""
    lines: list[tuple[str, str]] = []
    for key, value in facts.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            lines.append((_words(key), _fact(key, item)))
    return pairs(lines)


def show(manifest: Manifest, state: str, reason: str, style: Style) -> list[str]:
    """Everything that matters of one backup, and how to restore it by hand."""
    source = manifest.source
    lines = pairs(
        [
            ("backup", manifest.id),
            ("state", f"{state}: {reason}" if reason else state),
            ("source", f"{manifest.engine} {source.database} on {source.host} ({source.server_version})"),
            ("method", f"{manifest.method}, {manifest.type}"),
            ("parent", manifest.parent or ""),
            ("consistent at", to_text(manifest.consistent_at)),
            ("finished at", to_text(manifest.finished_at)),
            ("stored", _stored(manifest)),
            ("proof", _proof(manifest.proof)),
            ("made with", ", ".join(f"{tool} {version}" for tool, version in manifest.tools.items())),
            *(("note", note) for note in manifest.notes),
        ]
    )
    rows = [
        (item.file, item.role, show_size(item.size_bytes), show_size(item.raw_size_bytes), _coding(item))
        for item in manifest.artifacts
    ]
    lines += [
        "",
        *table(("ARTIFACT", "ROLE", "STORED", "RAW", "CODING"), rows, style, spare=("RAW", "CODING")),
    ]
    if manifest.proof.tables:
        counts = [(name, f"{proof.rows:,}") for name, proof in manifest.proof.tables.items()]
        lines += ["", *table(("TABLE", "ROWS"), counts, style, right=("ROWS",))]
    if manifest.restore_with:
        lines += [
            "",
            "to restore it without this program:",
            *(f"  {one_line(line)}" for line in manifest.restore_with),
        ]
    return lines


def restored(facts: Mapping[str, Any]) -> list[str]:
    """A restore that was done, and whether it is proven."""
    tables, rows = facts.get("tables"), facts.get("rows")
    amount = [", ".join(tables) if tables else "", counted(rows, "row") if isinstance(rows, int) else ""]
    proven = "equal to what was measured when the backup was made" if facts.get("proven") else "unproven"
    return pairs(
        [
            ("restored", str(facts.get("backup") or "")),
            ("to", str(facts.get("to") or "")),
            ("holds", ", ".join(part for part in amount if part)),
            ("proof", proven),
            ("recovered", _recovered(facts.get("recovered") or {})),
            ("kept", f"the database that was replaced: {facts['kept']}" if facts.get("kept") else ""),
            ("took", show_duration(facts.get("duration_seconds") or 0)),
            *(("note", str(note)) for note in facts.get("notes") or ()),
        ]
    )


def _recovered(facts: Mapping[str, Any]) -> str:
    """To where, and where the server says that it stopped."""
    if not facts:
        return ""
    timeline = f", on timeline {facts['timeline']}" if facts["timeline"] is not None else ""
    return f"to {facts['target']}{', paused there' if facts['paused'] else timeline}: {facts['stopped']}"


def verified(results: Sequence[Any], style: Style) -> list[str]:
    """One line for each backup, and one for each finding."""
    lines = []
    for result in results:
        word = style.paint("ok", "good") + " " if result.ok else style.paint("bad", "bad")
        lines.append(f"{word}  {result.backup}  {result.level}")
        for finding in result.findings:
            lines.append(f"     {one_line(finding.object)}: {one_line(finding.problem)}")
            if finding.remedy:
                lines.append(f"       remedy: {one_line(finding.remedy)}")
    bad = sum(not result.ok for result in results)
    return [*lines, "", f"{counted(len(results), 'backup')} checked, {bad or 'none'} bad"]


def pruned(facts: Mapping[str, Any], dry_run: bool, style: Style) -> list[str]:
    """What was, or with ``dry_run`` would be, kept, archived and removed, and by which rule."""
    rows = []
    for word, verb in (("removed", "remove"), ("archived", "archive"), ("kept", "keep")):
        for item in facts.get(word, ()):
            reasons = item.get("reasons") or [item.get("reason", "")]
            rows.append((verb if dry_run and word != "kept" else word, item["id"], ", ".join(reasons)))
    numbers = f"{len(facts.get('removed', ()))} removed, {len(facts.get('archived', ()))} archived"
    total = f"{numbers}, {len(facts.get('kept', ()))} kept"
    end = f"nothing is changed; would be: {total}" if dry_run else total
    swept = len(facts.get("swept", ()))
    if swept:
        end += f"; {counted(swept, 'leftover')} of interrupted runs {'would be ' if dry_run else ''}swept"
    log = facts.get("log") or {}
    if log.get("files"):
        end += f"; {counted(log['files'], 'log file')} ({show_size(log['size_bytes'])}) that no kept backup needs"
        end += " would be removed" if dry_run else " removed"
    told = table(("PLAN" if dry_run else "DONE", "BACKUP", "WHY"), rows, style) if rows else []
    return [*told, *([""] if told else []), *wrapped(end, WIDTH), *findings(facts.get("findings", ()))]


def synced(facts: Mapping[str, Any], dry_run: bool, style: Style) -> list[str]:
    """What a sync copied, or with ``dry_run`` would copy, and what it could not."""
    rows = [(copy["id"], show_size(copy["size_bytes"])) for copy in facts["copied"]]
    lines = table(("BACKUP", "SIZE"), rows, style, right=("SIZE",)) + [""] if rows else []
    copied = f"{counted(len(rows), 'backup')}, {show_size(facts['size_bytes'])}"
    would = "nothing is changed; would be: " if dry_run else ""
    end = f"{would}copied to {one_line(facts['to'])}: {copied}; there already: {facts['present']}"
    log = facts.get("log") or {}
    if log.get("files") or log.get("present"):
        end += f"; {counted(log['files'], 'log file')}, {show_size(log['size_bytes'])}; there already: {log['present']}"
    lines += wrapped(end, WIDTH)
    return lines + findings(facts["findings"])


def findings(found: Sequence[Mapping[str, str]]) -> list[str]:
    """One line for each finding, and one for its remedy."""
    lines = []
    for finding in found:
        lines.append(one_line(f"finding: {finding['object']}: {finding['problem']}"))
        if finding.get("remedy"):
            lines.append("  " + one_line(f"remedy: {finding['remedy']}"))
    return lines


def _stored(manifest: Manifest) -> str:
    parts = counted(len(manifest.artifacts), "artifact")
    return f"{parts}, {show_size(manifest.size_bytes)} (raw {show_size(manifest.raw_size_bytes)})"


def _proof(proof: Proof) -> str:
    if proof.level == "none":
        return "every file by its checksum" if proof.image_sha256 else "none"
    rows = sum(table.rows for table in proof.tables.values())
    told = f"{proof.level}: {counted(len(proof.tables), 'table')}, {counted(rows, 'row')}"
    return f"{told}, {counted(len(proof.queries), 'query', 'queries')}" if proof.queries else told


def _coding(artifact: Artifact) -> str:
    parts = [artifact.compression, str(artifact.encryption.get("method", "none"))]
    return ", ".join(part for part in parts if part != "none") or "plain"


def _words(key: str) -> str:
    for unit in ("_bytes", "_seconds"):
        if key.endswith(unit):
            key = key[: -len(unit)]
    return key.replace("_", " ")


def _fact(key: str, value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)) and key.endswith("_bytes"):
        return show_size(value)
    if isinstance(value, (int, float)) and key.endswith("_seconds"):
        return show_duration(value)
    if isinstance(value, Mapping):
        told = ((_words(str(name)), _fact(str(name), item)) for name, item in value.items())
        return ", ".join(f"{words} {fact}" for words, fact in told if fact)
    if isinstance(value, (list, tuple)):
        return ", ".join(_fact(key, item) for item in value)
    return str(value)
