"""What tells a user's mistake from a bug."""


class UserError(ValueError):
    """A mistake the user can mend: the command line shows its message as one line, without a traceback."""
