"""The fixtures of :mod:`annotating`, under the names that tests ask for."""

from annotating import serve as serve
from annotating import thumbnails as thumbnails
from annotating import write_run as write_run
