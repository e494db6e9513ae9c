"""The fixtures of :mod:`annotating` and :mod:`browser`, under the names that tests ask for."""

from annotating import serve as serve
from annotating import thumbnails as thumbnails
from annotating import write_run as write_run
from browser import browse as browse
from browser import driver as driver
