"""What people and their programs see of control: the API below ``/api/v1``."""
