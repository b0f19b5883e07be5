"""Jobs in the dashboard: their list, and the draft of a new one."""
