"""How large the caches of a core are: blocks of a product are cut to them."""

FOLDER = "/sys/devices/system/cpu/cpu0/cache"


def cache_size(level: int, usual: int, folder: str = FOLDER) -> int:
    """The bytes of a core's cache of data of a level; `usual` where the system does not tell."""
    for index in range(8):
        try:
            texts = []
            for name in ("level", "type", "size"):
                with open(f"{folder}/index{index}/{name}") as file:  # pathlib takes 3 ms to import
                    texts.append(file.read().strip())
            if texts[0] == str(level) and texts[1] != "Instruction":
                return (int(texts[2].removesuffix("K")) << 10) or usual
        except (OSError, ValueError):
            break
    return usual


FIRST, SECOND = cache_size(1, 32 << 10), cache_size(2, 512 << 10)
CROWDED = 4096  # bytes: rows so far apart, or a multiple, share one place in the first cache
