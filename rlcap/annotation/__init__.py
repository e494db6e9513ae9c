"""People's preferences: a local page shows an image with the captions of two runs, and each choice becomes a line.

Floor 6, a stranger to training and reporting: it reads run folders and needs no torch.
"""

from rlcap.annotation.prepare import Choice as Choice
from rlcap.annotation.prepare import prepare_session as prepare_session
from rlcap.annotation.server import Server as Server
