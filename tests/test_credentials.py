"""Pictures signed with a certificate of one's own, and what is told when it cannot be used."""

import datetime
import io
import json

import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from pdae_app.export.credentials import CredentialsError, signed, signed_film, signed_still
from pdae_app.export.provenance import Provenance


def certificate(name, key, issuer, issuer_key, authority):
    named = [
        x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, who)]) for who in (name, issuer)
    ]
    now = datetime.datetime.now(datetime.timezone.utc)
    usages = dict.fromkeys(
        [
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ],
        False,
    )
    usage = x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usages
    )
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    builder = (
        x509.CertificateBuilder(*named[::-1], key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(own, critical=False)
        .add_extension(above, critical=False)
    )
    if not authority:
        mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(mail, critical=False)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def operator(tmp_path, monkeypatch):
    """An operator with a certificate."""
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = certificate("us", key, "root", root, False) + certificate(
        "root", root, "root", root, True
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for name, content in (("CERT", chain), ("KEY", private)):
        (tmp_path / name).write_bytes(content)
        monkeypatch.setenv(f"PDAE_C2PA_{name}", str(tmp_path / name))
    return tmp_path


EDIT = Provenance("faces128", {"edit": {"Smiling": 1.0}})


FRAMES = [Image.new("RGB", (64, 64), (shade, 0, 0)) for shade in (0, 90, 180)]


@pytest.mark.parametrize(
    ("make", "pictures", "kind", "mime"),
    [
        (signed_still, FRAMES[0], "PNG", "image/png"),
        (signed_still, FRAMES[0], "JPEG", "image/jpeg"),
        (signed_film, FRAMES, "GIF", "image/gif"),
        (signed_film, FRAMES, "WebP", "image/webp"),
        (signed_film, FRAMES, "MP4", "video/mp4"),
    ],
)
def test_a_signed_file_is_valid_and_a_changed_one_is_not(operator, make, pictures, kind, mime):
    data = make(pictures, EDIT, kind)
    facts = json.loads(c2pa.Reader(mime, io.BytesIO(data)).json())
    manifest = facts["manifests"][facts["active_manifest"]]
    assert facts["validation_state"] == "Valid"
    assert "compositeWithTrainedAlgorithmicMedia" in json.dumps(manifest["assertions"])
    assert manifest["signature_info"]["issuer"] == "us"
    place = data.index(b"Smiling")
    changed = data[:place] + b"Sighing" + data[place + 7 :]
    assert (
        json.loads(c2pa.Reader(mime, io.BytesIO(changed)).json())["validation_state"] == "Invalid"
    )


def test_without_a_certificate_nothing_is_signed():
    assert signed(b"as it is", "image/png", EDIT) == b"as it is"


def test_a_certificate_that_cannot_be_used_is_told(operator, monkeypatch):
    (operator / "KEY").write_bytes(b"no key")
    with pytest.raises(CredentialsError, match="cannot be signed"):
        signed_still(FRAMES[0], EDIT)
    monkeypatch.setenv("PDAE_C2PA_CERT", str(operator / "none"))
    with pytest.raises(CredentialsError, match="cannot be read"):
        signed_still(FRAMES[0], EDIT)
