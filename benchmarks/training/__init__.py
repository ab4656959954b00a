"""The training comparison of initialisation schemes: tasks, runs, and the table."""
