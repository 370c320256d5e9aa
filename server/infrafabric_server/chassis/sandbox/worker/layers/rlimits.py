"""Limits of the process as a whole, behind those that wasmtime keeps."""

import resource

_MIB = 1 << 20
# Address space is no measure of memory: wasmtime reserves 4 GiB and guards for each linear memory.
_ADDRESS_SPACE = 10 << 30
_DESCRIPTORS = 32


def restrict(data_bytes: int, file_bytes: int) -> str:
    """Limit what this process can take of the system, for good; `allow_cpu` is not.

    Args:
        data_bytes: memory that it may write to, in bytes.
        file_bytes: largest file that it may write; images of memory are such files.

    Returns:
        What holds, for the report.

    Raises:
        OSError, ValueError: a limit is above the one in force.
    """
    for kind, wanted in (
        (resource.RLIMIT_DATA, data_bytes),
        (resource.RLIMIT_AS, _ADDRESS_SPACE + data_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, _DESCRIPTORS),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (most, most))
    return f"{data_bytes // _MIB} MiB of data, {_DESCRIPTORS} descriptors, no processes"


def allow_cpu(seconds: int) -> None:
    """Have the kernel end this process with SIGXCPU when it has computed for so much longer."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    total = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (total, resource.getrlimit(resource.RLIMIT_CPU)[1]))
