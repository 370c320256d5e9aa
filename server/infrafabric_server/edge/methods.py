"""Which calls of the contract change something: those are refused while the server drains."""

_PACKAGE = "infrafabric.v1"

READ_ONLY = frozenset(
    f"/{_PACKAGE}.{method}"
    for method in (
        "ChassisService/GetReputation",
        "ChassisService/GetSloReport",
        "ChassisService/ListCredentials",
        "ChassisService/ListLoadedSwarms",
        "ChassisService/ListViolations",
        "ChassisService/ValidateCredential",
        "CoordinatorService/GetSwarm",
        "CoordinatorService/ListSwarms",
        "CoordinatorService/GetTask",
        "CoordinatorService/ListTasks",
        "CoordinatorService/WatchTasks",
        "GovernorService/FindQualifiedSwarm",
        "GovernorService/GetBudgetReport",
        "GovernorService/GetCostReport",
        "GovernorService/ListCircuitBreakers",
        "GovernorService/ListHelpRequests",
        "GovernorService/ListEscalations",
        "GovernorService/WatchEscalations",
        "GovernorService/GetPolicy",
        "GovernorService/CheckPolicy",
        "NotifyService/GetStatus",
        "NotifyService/WatchStatus",
        "WitnessService/QueryEntries",
        "WitnessService/TailEntries",
    )
)

MUTATING = frozenset(
    f"/{_PACKAGE}.{method}"
    for method in (
        "ChassisService/UploadModule",
        "ChassisService/LoadSwarm",
        "ChassisService/UnloadSwarm",
        "ChassisService/ExecuteTask",
        "ChassisService/IssueCredential",
        "ChassisService/RevokeCredential",
        "CoordinatorService/RegisterSwarm",
        "CoordinatorService/DeregisterSwarm",
        "CoordinatorService/OpenSession",
        "CoordinatorService/CreateTask",
        "CoordinatorService/CreateTasks",
        "CoordinatorService/ClaimTask",
        "CoordinatorService/ReleaseTask",
        "CoordinatorService/ExtendClaim",
        "CoordinatorService/ReportProgress",
        "CoordinatorService/CompleteTask",
        "CoordinatorService/FailTask",
        "CoordinatorService/CancelTask",
        "CoordinatorService/PushTask",
        "CoordinatorService/BroadcastTask",
        "CoordinatorService/AssignTask",
        "CoordinatorService/ReportBlocker",
        "CoordinatorService/ResolveBlocker",
        "GovernorService/TrackCost",
        "GovernorService/SetBudget",
        "GovernorService/TripCircuitBreaker",
        "GovernorService/ResetCircuitBreaker",
        "GovernorService/RequestHelp",
        "GovernorService/AcceptHelp",
        "GovernorService/AcknowledgeEscalation",
        "NotifyService/Notify",
        "NotifyService/Broadcast",
    )
)
