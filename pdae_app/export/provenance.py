"""Where a picture comes from, written into its file: tool, model, recipe, and that a model made it.

XMP carries IPTC's digital source type, which newsrooms and platforms read ("Digital Source Type",
IPTC NewsCodes): a composite with a trained model's output for edits, the output alone for pictures
of nobody.
"""

import json
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pdae_app import __version__

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TOOL = f"pdae_app {__version__}"

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <xmp:CreatorTool>{tool}</xmp:CreatorTool>
   <Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


@dataclass(frozen=True)
class Provenance:
    """The model's name, what was done, and whether a photograph went in."""

    model: str
    recipe: dict = field(default_factory=dict)
    from_photo: bool = True

    @property
    def text(self) -> str:
        """One line of JSON."""
        return json.dumps({"tool": TOOL, "model": self.model, **self.recipe}, ensure_ascii=False)

    @property
    def source_type(self) -> str:
        """IPTC's name of the kind of source."""
        if self.from_photo:
            return "compositeWithTrainedAlgorithmicMedia"
        return "trainedAlgorithmicMedia"

    @property
    def xmp(self) -> bytes:
        """The packet for PNG, JPEG and WebP."""
        packet = XMP.format(
            tool=TOOL, source=SOURCE_TYPES + self.source_type, text=escape(self.text)
        )
        return packet.encode()

    def options(self, kind: str) -> dict:
        """What Pillow's `save` takes for a file of this kind, "PNG", "JPEG", "WEBP" or "GIF"."""
        if kind == "GIF":
            return {"comment": self.text.encode()}
        if kind != "PNG":
            return {"xmp": self.xmp, "exif": self._exif()}
        info = PngInfo()
        info.add_text("Software", TOOL)
        info.add_itxt("Description", self.text)
        info.add_itxt("XML:com.adobe.xmp", self.xmp.decode())
        return {"pnginfo": info}

    def _exif(self) -> bytes:
        exif = Image.Exif()
        exif[0x0131], exif[0x010E] = TOOL, self.text  # Software, ImageDescription
        return exif.tobytes()
