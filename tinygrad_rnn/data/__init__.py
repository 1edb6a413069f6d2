"""Text as numbers, in windows."""

from .text import TextError as TextError
from .text import Vocabulary as Vocabulary
from .text import default_text as default_text
from .text import read_text as read_text
from .text import streams as streams
from .text import windows as windows
