"""What the tests of the prediction share: a small model and cards."""

from tuner.predict.shape import Shape
from tuner.space.files import load_space

#: DeepSeek-R1-Distill-Qwen-1.5B.
SMALL = Shape(
    architecture="Qwen2ForCausalLM",
    layers=28,
    hidden=1536,
    heads=12,
    kv_heads=2,
    head_dim=128,
    intermediate=8960,
    vocab=151936,
    tied=False,
    max_positions=32768,
)
T4, H200 = load_space("t4").gpu, load_space("h200").gpu
