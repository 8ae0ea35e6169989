# The tasks of the Windows Task Scheduler in one folder: those that are wanted, and no others.
# Run by the role dbfleet.recovery.schedule (ansible.windows.win_powershell). Not verified on Windows.
[CmdletBinding(SupportsShouldProcess)]
param (
    # The folder, such as \dbfleet\, whose other tasks are removed.
    [Parameter(Mandatory)]
    [string] $Folder,

    # The XML of each task by its name. Its version is a digest of it, by which it is known to be there.
    [Parameter(Mandatory)]
    [AllowEmptyCollection()]
    [System.Collections.IDictionary] $Wanted
)

$ErrorActionPreference = 'Stop'
$Ansible.Changed = $false
$before = @{}
$after = @{}

$there = @{}
foreach ($task in @(Get-ScheduledTask -TaskPath $Folder -ErrorAction SilentlyContinue)) {
    $there[$task.TaskName] = $task
}

foreach ($name in @($there.Keys)) {
    if ($Wanted.Contains($name)) {
        continue
    }
    $Ansible.Changed = $true
    $before[$name] = Export-ScheduledTask -TaskPath $Folder -TaskName $name
    if (-not $Ansible.CheckMode) {
        Stop-ScheduledTask -TaskPath $Folder -TaskName $name
        Unregister-ScheduledTask -TaskPath $Folder -TaskName $name -Confirm:$false
    }
}

foreach ($name in @($Wanted.Keys)) {
    $xml = [string] $Wanted[$name]
    $version = ([xml] $xml).Task.RegistrationInfo.Version
    $existing = $there[$name]
    if ($existing -and $existing.Version -ceq $version -and $existing.Settings.Enabled) {
        continue
    }
    $Ansible.Changed = $true
    if ($existing) {
        $before[$name] = Export-ScheduledTask -TaskPath $Folder -TaskName $name
    }
    $after[$name] = $xml
    if (-not $Ansible.CheckMode) {
        # A run that is under way goes on. Windows keeps no password for it: the account is logged on by its name.
        Register-ScheduledTask -TaskPath $Folder -TaskName $name -Xml $xml -Force | Out-Null
    }
}

if ($Wanted.Count -eq 0 -and -not $Ansible.CheckMode) {
    $service = New-Object -ComObject Schedule.Service
    $service.Connect()
    $root = $service.GetFolder('\')
    foreach ($one in @($root.GetFolders(0))) {
        if ($one.Name -eq $Folder.Trim('\')) {
            $root.DeleteFolder($one.Name, 0)
        }
    }
}

$Ansible.Diff = @{ before = $before; after = $after }
