#!/usr/bin/env python3
# Makes the images that tests/data decodes, each beside the pixels that Pillow reads from it (PPM, or PGM for grey).
# usage: scripts/make_image_references.py [FOLDER]     (default: tests/data/data/images; needs pillow, torchvision, numpy)
#
# Right is ImageOps.exif_transpose(Image.open(f)).convert("RGB"). One exception: of 16-bit grey, Pillow's conversion clips
# at 255, which makes most of such a picture white; the reference keeps the upper byte, as Pillow does for 16-bit RGB.
import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

WIDTH, HEIGHT = 21, 14


def picture() -> np.ndarray:
    """Colours that tell every corner and channel apart."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    red, green = 255 * x // (WIDTH - 1), 255 * y // (HEIGHT - 1)
    blue = np.where((x // 5 + y // 4) % 2 == 0, 40, 210)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def exif(orientation: int) -> Image.Exif:
    result = Image.Exif()
    result[0x0112] = orientation
    return result


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: np.ndarray, bits: int, colour: int, extra: bytes = b"", interlaced: bool = False) -> bytes:
    """A PNG of samples [H, W, C] that have this many bits, packed by hand."""

    def lines(samples: np.ndarray) -> bytes:
        if samples.size == 0:
            return b""
        if bits == 16:
            return b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
        width = samples.shape[1] * samples.shape[2]
        packed = []
        for row in samples.reshape(len(samples), width):
            text = "".join(format(int(value), f"0{bits}b") for value in row)
            text += "0" * (-len(text) % 8)
            packed.append(b"\0" + bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)))
        return b"".join(packed)

    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    data = b"".join(lines(rows[y::dy, x::dx]) for y, x, dy, dx in passes) if interlaced else lines(rows)
    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], bits, colour, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(data, 9))
            + png_chunk(b"IEND", b""))


def without_segment(jpeg: bytes, marker: int) -> bytes:
    at = jpeg.index(bytes([0xFF, marker]))
    return jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]


def with_adobe_transform(jpeg: bytes, transform: int) -> bytes:
    at = jpeg.index(b"Adobe") + 11
    return jpeg[:at] + bytes([transform]) + jpeg[at + 1 :]


def jpeg_files() -> dict[str, bytes]:
    rgb = Image.fromarray(picture())
    cmyk = encoded(rgb.convert("CMYK"), "JPEG", quality=90)
    files = {
        "jpeg-420.jpg": encoded(rgb, "JPEG", quality=85, subsampling=2),
        "jpeg-422.jpg": encoded(rgb, "JPEG", quality=85, subsampling=1),
        "jpeg-444-progressive.jpg": encoded(rgb, "JPEG", quality=85, subsampling=0, progressive=True),
        "jpeg-restarts.jpg": encoded(rgb, "JPEG", quality=85, restart_marker_blocks=1),
        "jpeg-grey.jpg": encoded(rgb.convert("L"), "JPEG", quality=85),
        "jpeg-cmyk-adobe.jpg": cmyk,
        "jpeg-cmyk-plain.jpg": without_segment(cmyk, 0xEE),
        "jpeg-ycck.jpg": with_adobe_transform(cmyk, 2),
        "jpeg-xmp-turned.jpg": encoded(rgb, "JPEG", xmp=b'<x:xmpmeta tiff:Orientation="6"/>'),
    }
    for orientation in range(1, 9):
        files[f"jpeg-exif-{orientation}.jpg"] = encoded(rgb, "JPEG", quality=85, exif=exif(orientation))
    big_endian = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, 8, 0, 0)
    files["jpeg-exif-big-endian.jpg"] = encoded(rgb, "JPEG", quality=85, exif=b"Exif\0\0" + big_endian)
    return files


def png_files() -> dict[str, bytes]:
    pixels = picture()
    rgb = Image.fromarray(pixels)
    alpha = Image.fromarray(pixels[..., 2])
    palette = rgb.quantize(16)
    wide = pixels.astype(np.uint16) * 256 + np.arange(WIDTH * HEIGHT * 3, dtype=np.uint16).reshape(pixels.shape) % 251
    text, profile = PngImagePlugin.PngInfo(), PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "<tiff:Orientation>8</tiff:Orientation>")
    data = exif(5).tobytes()
    profile.add_text("Raw profile type exif", f"\nexif\n{len(data):8}\n{data.hex()}\n", zip=True)
    colours = png_chunk(b"PLTE", bytes(range(0, 255, 17)) + bytes(30) + bytes([255, 0, 128]))
    files = {
        "png-rgb.png": encoded(rgb, "PNG"),
        "png-rgba.png": encoded(Image.merge("RGBA", [*rgb.split(), alpha]), "PNG"),
        "png-rgb-key.png": encoded(rgb, "PNG", transparency=(0, 0, 40)),
        "png-grey.png": encoded(rgb.convert("L"), "PNG"),
        "png-grey-alpha.png": encoded(Image.merge("LA", [rgb.convert("L"), alpha]), "PNG"),
        "png-grey-key.png": encoded(rgb.convert("L"), "PNG", transparency=29),
        "png-palette.png": encoded(palette, "PNG"),
        "png-palette-alpha.png": encoded(palette, "PNG", transparency=bytes(range(0, 160, 10))),
        "png-exif.png": encoded(rgb, "PNG", exif=exif(6)),
        "png-xmp.png": encoded(rgb, "PNG", pnginfo=text),
        "png-raw-profile.png": encoded(rgb, "PNG", pnginfo=profile),
        "png-interlaced.png": png(pixels, 8, 2, interlaced=True),
        "png-palette-2-bits.png": png(pixels[..., :1] >> 6, 2, 3, colours),
        "png-palette-4-bits-interlaced.png": png(pixels[..., :1] >> 4, 4, 3, colours, interlaced=True),
        "png-rgb-16-bits.png": png(wide, 16, 2),
        "png-rgba-16-bits.png": png(np.concatenate([wide, wide[..., :1]], axis=-1), 16, 6),
        "png-grey-16-bits.png": png(wide[..., :1], 16, 0),
        "png-grey-alpha-16-bits.png": png(wide[..., :2], 16, 4),
        "png-gamma.png": png(pixels, 8, 2, png_chunk(b"gAMA", struct.pack(">I", 100000))),
    }
    for bits in (1, 2, 4):
        files[f"png-grey-{bits}-bits.png"] = png(pixels[..., :1] >> (8 - bits), bits, 0)
    return files


def webp_files() -> dict[str, bytes]:
    rgb = Image.fromarray(picture())
    alpha = Image.fromarray(picture()[..., 2])
    frames = [rgb, rgb.rotate(180)]
    return {
        "webp-lossy.webp": encoded(rgb, "WEBP", quality=80),
        "webp-lossless.webp": encoded(rgb, "WEBP", lossless=True),
        "webp-alpha.webp": encoded(Image.merge("RGBA", [*rgb.split(), alpha]), "WEBP", lossless=True, exact=True),
        "webp-exif.webp": encoded(rgb, "WEBP", lossless=True, exif=exif(7)),
        "webp-animated.webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True),
    }


def reference(name: str, content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    return ImageOps.exif_transpose(image).convert("RGB")


def resized(folder: Path) -> None:
    """What torchvision's transforms give for a PIL image: Resize((9, 12)), and Resize(11) with CenterCrop(8)."""
    from torchvision import transforms

    image = Image.fromarray(picture())
    transforms.Resize((9, 9))(image).save(folder / "resized-square.ppm")
    transforms.Compose([transforms.Resize(11), transforms.CenterCrop(8)])(image).save(folder / "resized-crop.ppm")
    upright = image.transpose(Image.Transpose.ROTATE_90)
    transforms.Compose([transforms.Resize(20), transforms.CenterCrop(17)])(upright).save(folder / "enlarged-crop.ppm")


def main() -> None:
    default = Path(__file__).resolve().parent.parent / "tests/data/data/images"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {**jpeg_files(), **png_files(), **webp_files()}.items():
        (folder / name).write_bytes(content)
        image = reference(name, content)
        image.save((folder / name).with_suffix(".ppm"))
    for name in ("jpeg-420", "png-palette", "png-rgba"):
        suffix = ".jpg" if name.startswith("jpeg") else ".png"
        Image.open(folder / (name + suffix)).convert("L").save(folder / (name + ".pgm"))
    resized(folder)


if __name__ == "__main__":
    main()
