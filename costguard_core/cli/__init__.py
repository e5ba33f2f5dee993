"""The commands of ``costguard`` that belong to the core. Each module is imported only when its command runs."""
