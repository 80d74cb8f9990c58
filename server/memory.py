"""How a process uses the C library's memory: what it frees it keeps for the next time, up to a limit.

Left alone, glibc gives large blocks back to the kernel as soon as they are free, and gets them again, page by page, for
the next picture or the next layer: thousands of page faults, which took a third of the time of a small encoder on a CPU
and nearly half of that of decoding a picture.
"""

# The most that glibc accepts on 64 bits; larger blocks have a mapping of their own, which is given back at once.
LARGEST = 32 << 20


def keeping(size: int) -> dict[str, str]:
    """Environment of a process that keeps `size` bytes of freed memory; other C libraries than glibc ignore it."""
    return {"MALLOC_MMAP_THRESHOLD_": str(LARGEST), "MALLOC_TRIM_THRESHOLD_": str(size)}
