"""The commands, one file each: functions of their arguments, which parse them and call the other rooms."""
