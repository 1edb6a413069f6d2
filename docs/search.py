"""Ask the built site what people look for, in Chromium: `python docs/search.py`.

Each question has one page that answers it, which must be the first that is found.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

BUILD = Path(__file__).resolve().parent.parent / "build" / "site"
ASKED = {
    "howto/pytorch": ("coming from PyTorch", "从 PyTorch 来"),
    "howto/weights": ("load PyTorch LSTM weights", "加载 PyTorch 权重"),
    "howto/lengths": ("lengths", "mask", "padding", "长度", "掩码", "填充"),
    "howto/cell": ("custom cell", "自定义单元"),
    "howto/op": ("custom op", "自定义算子"),
    "howto/resume": ("resume training", "继续训练"),
    "howto/validation": (
        *("early stopping", "validation loss", "keep best model"),
        *("早停", "验证损失", "最佳模型"),
    ),
    "howto/schedule": ("learning rate schedule", "学习率"),
    "howto/questions": ("GPU", "显卡"),
    "howto/clipping": ("clip gradients", "裁剪梯度"),
    "howto/plot": ("plot loss", "画损失"),
}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def wrong() -> list[str]:
    """The questions to which another page is found first, in words."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        tab = browser.new_page()
        for page, questions in ASKED.items():
            for question in questions:
                language = "en" if question.isascii() else "zh"
                tab.goto(f"{(BUILD / language / 'search.html').as_uri()}?q={question}")
                first = tab.get_attribute("#search-results li:first-child a", "href") or ""
                if not first.startswith(f"{page}.html"):
                    found.append(f"{language}: {question!r} finds {first} before {page}")
        browser.close()
    return found


if __name__ == "__main__":
    sys.exit("\n".join(wrong()) or 0)
