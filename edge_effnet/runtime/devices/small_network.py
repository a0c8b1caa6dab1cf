"""A small network in each format, to try a device: the mean of each colour, [1, 3].

Its input is float32 [1, 8, 8, 3], in .onnx and OpenVINO files [1, 3, 8, 8]. Written by the packages
tflite, onnx and openvino, and compressed.
"""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

_CONTENT = {
    ".tflite": (
        "eNpVUTtuwkAUHGwLrZIVuHARCUoKelKmTpWSgiJSZCkGRQKKkCBygxyCI1CkzCFyilzEzFvPGrPW6L19nnm/HQ"
        "OYPz7NCoxxhwI5PBzsZLyBMeCb+CF+ib8ekNLSkGvnRpqMHuiBmYAHYkjsqvf923b18loty8/1R9AZx0ljtZJQ"
        "rcn5JWv3/7quY/wg3kR6oB/0fXGdeMY5Srepyi06vfp2vizksNicWBDP4hUh9yBY496SO2jjGOXys/BdaibN/3"
        "CPsZ5itq81ca9eT+zPaY44c+SnbZ/Dqz6VK8mVozxUO3Rq+c67ee3Dd3YXe3VCerUXm/OinTa1pmfYqyEq"
    ),
    ".onnx": (
        "eNrj4LAq5pLnYqwQYiyQYinIz89REnTPyU9KzHEsSy1KTE8NAApxSXAxFggxVkqxp+UklpSk5imxu0EYQiy5qY"
        "l5UdIgA8S4RDgYhQS4mDgYgZgZiDlAOEmYi7FSiI+LByjJAZN0YuFiEOAFADD1Fzw="
    ),
    ".xml": (
        "eNrNV8GOmzAQPW++AvmcltgQQiQne6hUqYeqq/YDENqYLVrAFEy1ydfXNjgxYc2aNJv2xHiwn+e9mbEB37/kmf"
        "ObVHVKiw2AHxfgfjvDBWFOEedkA3ISF0CbAMF2doezeM893OpMJ91twAJ0a16Aw/YlNx7iijsYqTQEWtaESRS+"
        "eBez2Kl/xmIynHvzcB4Ch2QkJwWLWozEQ8Bx2+m0YWXDpH2HS1oxtW9Zkce0xf/8IBaIQGoRSTuZ75TmW4hd8d"
        "A83sATjnqwK3Ztg3FP0WBXqnCmB1R6fKJFzWLOyFfCSM+oKH0R0oAv7XQCDk0SPl0Sr9MDd4WTFPoiwFxLEkiR"
        "+CF2/5ZES8Whc5yz8HQWLbpOots3LewS+Y7pO4VgUA0OVNNx/UvLwjtXNLiVotYU/lIaeKk0/lGaXw0hBxKtjt"
        "K0DlPLXEAeXpG8dTctB0eCd90jIbzBkRAoEt/j4olEoWIgh+cM/GsWbzfdJhfaHGSm+mauvdEaQpcW+kpJWFKa"
        "HfUju+aRfO1fuMMyeCakjPi2/HpjVUP+nyPV+nxAF7ceMl/15WRicNQzKZ/hoK8hukZjo1Nnw0C1trAm9vZVin"
        "atSO5PFSvjHP+6K3kkcRYdSEVvVLHWif23FbufQGzah+fxS3zv1mnxHIm10ULLWpO9UpHqeO6H9w5Zel3BE5fO"
        "Ev8XmOyeSPujISwnqWj+Qb6VMcihAJMjRtUrJAfHF+5kgJUVADQDBFYAqAcAdQDPCsAzA/hWAL4ZQKcAjQBLOw"
        "2QESDoAXimLJgjWPUAkA6wttIgNFNYW0WwNkcAF8MQsKuqGvO+TIuECjd2+V/3dvYHOGRRTA=="
    ),
    ".bin": "eNpjYoAARgZU8B8KACRUB/w=",
}


def write(suffix: str, folder: Path) -> Path:
    """Write the network in the format of ``suffix`` into ``folder``; returns its path."""
    path = folder / f"mean{suffix}"
    for each in (suffix, ".bin") if suffix == ".xml" else (suffix,):
        path.with_suffix(each).write_bytes(zlib.decompress(base64.b64decode(_CONTENT[each])))
    return path
