"""Schedules, weightings, solvers: functions of eps(x, t), without networks or files."""
