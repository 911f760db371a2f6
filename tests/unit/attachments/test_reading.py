"""Every kind of file, and every way in which one can be wrong, as the process that reads them meets it."""

from __future__ import annotations

import asyncio
import io
import zipfile

import pytest
from pypdf import PdfWriter

from backend.api.errors import InvalidRequestError
from backend.attachments.document import MAX_CHARACTERS, Unreadable
from backend.attachments.reader import read_apart
from backend.attachments.reading import read_document

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def pdf(*pages: str, password: str = "") -> bytes:
    """A small PDF, one line of text a page ("" is a page without text)."""
    count = len(pages)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Count {count} /Kids [{' '.join(f'{4 + 2 * n} 0 R' for n in range(count))}] >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b""
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >>"
            f" /Contents {5 + 2 * number} 0 R >>".encode(),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        ]
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    if not password:
        return bytes(out)
    writer = PdfWriter(clone_from=io.BytesIO(bytes(out)))
    writer.encrypt(password, algorithm="RC4-128")
    locked = io.BytesIO()
    writer.write(locked)
    return locked.getvalue()


def docx(body: str, *, head: str = "") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", f'{head}<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>')
    return packed.getvalue()


def paragraph(text: str, about: str = "") -> str:
    return f"<w:p><w:pPr>{about}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
def test_text_in_every_encoding_that_can_be_told(encoding: str) -> None:
    text = "Größe, naïve café, übermäßig: die Straße führt schließlich über die Brücke zurück.\n" * 20
    found = read_document("notes.txt", text.encode(encoding))
    assert (found.kind, found.text) == ("text", text)


@pytest.mark.parametrize("encoding", ["shift_jis", "cp1251", "gb18030", "euc_kr"])
def test_old_encodings_of_other_scripts(encoding: str) -> None:
    text = {
        "shift_jis": "これは日本語の文章です。冷蔵庫は熱を外に運びます。",
        "cp1251": "Это обычный русский текст о том, как работает холодильник.",
        "gb18030": "这是一个关于冰箱如何工作的中文段落，内容很普通。",
        "euc_kr": "이것은 냉장고가 어떻게 작동하는지에 대한 한국어 문장입니다.",
    }[encoding] * 20
    assert read_document("notes.txt", text.encode(encoding)).text == text


@pytest.mark.parametrize(
    ("name", "mime"), [("a.md", "text/markdown"), ("a.csv", "text/csv"), ("a.py", "text/plain"), ("a", "text/plain")]
)
def test_line_ends_and_kinds(name: str, mime: str) -> None:
    found = read_document(name, b"one\r\ntwo\rthree\n")
    assert (found.mime, found.text) == (mime, "one\ntwo\nthree\n")


def test_a_pdf_page_by_page() -> None:
    found = read_document("report.bin", pdf("The first page", "", "The third page"))
    assert (found.kind, found.text) == ("pdf", "The first page\n\nThe third page")


def test_a_word_document_with_headings_lists_and_tables() -> None:
    body = (
        paragraph("Plan", '<w:pStyle w:val="Heading2"/>')
        + paragraph("First &amp; last", "<w:numPr/>")
        + "<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:delText>gone</w:delText></w:r></w:p>"
        + f"<w:tbl><w:tr><w:tc>{paragraph('x')}{paragraph('y')}</w:tc><w:tc>{paragraph('z')}</w:tc></w:tr></w:tbl>"
    )
    found = read_document("plan.docx", docx(body))
    assert (found.kind, found.text) == ("docx", "## Plan\n\n- First & last\na\tb\nc\n\n| x y | z |")


@pytest.mark.parametrize(
    ("magic", "mime"),
    [(b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"RIFF\0\0\0\0WEBP", "image/webp")],
)
def test_an_image_is_known_by_its_first_bytes(magic: bytes, mime: str) -> None:
    found = read_document("picture.txt", magic + b"rest")
    assert (found.kind, found.mime, found.text) == ("image", mime, "")


BILLION = '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'


def bomb() -> bytes:
    """A document of 70 MB in 70 KB."""
    return docx(" " * (70 << 20))


def loose_zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "a")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"\x7fELF\x02\x01\x01" + bytes(100), "is not text"),
        (bytes(range(256)) * 40, "is not text"),
        (b"x" * (MAX_CHARACTERS + 1), "too long"),
        (pdf(""), "has no text"),
        (pdf("Secret", password="tiger"), "password"),
        (b"%PDF-1.7\n" + b"\0garbage" * 50, "is damaged"),
        (pdf("cut off")[:120], "is damaged"),
        (docx(""), "is empty"),
        (docx("<w:p>"), "is damaged"),
        (docx(paragraph("&b;"), head=BILLION), "is damaged"),
        (docx("<w:p>" * 600 + "</w:p>" * 600), "is damaged"),
        (bomb(), "too long"),
        (docx(paragraph("a"))[:-30], "cannot be read"),
        (loose_zip(), "cannot be read"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "older Office"),
    ],
)
def test_what_cannot_be_read_is_said_in_sentences(content: bytes, said: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read_document("thing.dat", content)
    problem = caught.value
    assert said in f"{problem.what} {problem.why}"
    assert problem.what.startswith("thing.dat")
    assert problem.remedy.endswith(".")


def test_a_pdf_that_is_encrypted_without_a_password_is_read() -> None:
    writer = PdfWriter(clone_from=io.BytesIO(pdf("Open to all")))
    writer.encrypt("", "owner", algorithm="RC4-128")
    packed = io.BytesIO()
    writer.write(packed)
    assert read_document("open.pdf", packed.getvalue()).text == "Open to all"


def test_the_other_process_gives_the_same_and_carries_the_sentences() -> None:
    found = asyncio.run(read_apart("ünï.docx", docx(paragraph("日本 \U0001f600"))))
    assert (found.kind, found.text) == ("docx", "日本 \U0001f600")
    with pytest.raises(InvalidRequestError) as caught:
        asyncio.run(read_apart("scan.pdf", pdf("")))
    assert caught.value.what == "scan.pdf has no text."
    assert "recognition" in caught.value.remedy


def test_a_file_that_takes_for_ever_costs_a_sentence() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        asyncio.run(read_apart("slow.txt", b"x" * 100, seconds=0.0))
    assert "takes more than" in caught.value.why
