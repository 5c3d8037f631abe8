"""Other libraries, met by those who use both: `durably.integrations.langchain`."""
