"""How wasmtime is set up; compiled code is of use only under the same settings."""

from wasmtime import Config, Engine

# Recursion ends here, well within the 8 MiB of a thread.
STACK_BYTES = 512 << 10
# Off: what no toolchain needs by default, and what would open a way around a limit.
_FEATURES_OFF = (
    "wasm_threads",
    "wasm_tail_call",
    "wasm_multi_memory",
    "wasm_memory64",
    "wasm_relaxed_simd",
    "wasm_exceptions",
    "wasm_function_references",
    "wasm_gc",
    "gc_support",
    "shared_memory",
)


def engine(*, quick: bool = False) -> Engine:
    """Return an engine.

    Args:
        quick: compile in a time that grows no faster than the module, to slower code.
    """
    config = Config()
    for feature in _FEATURES_OFF:
        setattr(config, feature, False)
    config.max_wasm_stack = STACK_BYTES
    # A worker is one thread: it may not start another.
    config.parallel_compilation = False
    if quick:
        config.cranelift_opt_level = "none"
        config.cranelift_flag_set("regalloc_algorithm", "single_pass")
    return Engine(config)
