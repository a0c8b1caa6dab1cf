"""Records of a float32 and an int8 file as a comparison gives them, without measuring."""

from __future__ import annotations

from edge_effnet.benchmarks.records import Host, Latency, PhotoSet, Record, Results

HOST = Host("A CPU <b>", "x86_64", 4, ("avx2", "avx512_vnni"), load=0.1)


def record(form: str, precision: str, **figures: object) -> Record:
    suffix = {"tflite": "tflite", "onnx": "onnx", "openvino": "xml"}[form]
    base = Record(
        file=f"out/efficientnet-lite0-{precision}.{suffix}",
        variant="efficientnet-lite0",
        format=form,
        precision=precision,
        size_bytes=18_600_000 if precision == "fp32" else 4_900_000,
        images=1025,
        runtime="a runtime",
        runtime_version="1.0",
        kernels="fast ones",
    )
    return base.with_(**figures)


def timed(median: float) -> dict[str, object]:
    samples = tuple(round(median * (1 + 0.01 * place), 4) for place in range(-5, 6))
    latency = Latency(median, 1.04 * median, 1.05 * median, 0.95 * median, median)
    return {"latency_ms": latency, "samples_ms": samples, "threads": 1, "rounds": 2}


FP32 = record(
    "tflite", "fp32", top1=0.89, top1_ci=(0.87, 0.91), top5=0.97, top5_ci=(0.96, 0.98),
    agreement=1.0, drop=0.0, lost=0, gained=0, **timed(5.0),
)  # fmt: skip
FP32 = FP32.with_(reference=FP32.file)
INT8 = record(
    "tflite", "int8", quantizer="edge-effnet", top1=0.885, top1_ci=(0.865, 0.905), top5=0.97,
    top5_ci=(0.96, 0.98), agreement=0.991, agreement_ci=(0.983, 0.995), drop=0.5,
    drop_ci=(-0.3, 1.3), lost=9, gained=4, sqnr_db=22.2, reference=FP32.file, **timed(2.0),
)  # fmt: skip
WHOLE = Results(
    HOST,
    (FP32, INT8),
    PhotoSet("photos", 1025, True, "evaluation"),
    created="2026-01-02T03:04:05+00:00",
)
