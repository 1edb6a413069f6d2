"""Text as numbers, sequences of different length, and data sets that packages carry."""

from .lengths import check_lengths as check_lengths
from .lengths import check_mask as check_mask
from .sequences import buckets as buckets
from .sequences import mask_of as mask_of
from .sequences import one_hot as one_hot
from .sequences import pad as pad
from .sequences import padding_share as padding_share
from .sequences import unpad as unpad
from .series import co2 as co2
from .series import digits as digits
from .series import sunspots as sunspots
from .text import TextError as TextError
from .text import Vocabulary as Vocabulary
from .text import default_text as default_text
from .text import read_text as read_text
from .text import streams as streams
from .text import windows as windows
from .tunes import tunes as tunes
from .words import dates as dates
from .words import names as names
from .words import tagged_sentences as tagged_sentences
