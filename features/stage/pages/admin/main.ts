import { createApp } from 'vue'
import '../shared/theme.css'
import './admin.css'
import { ignoreStrayClicks } from '../shared/double-click.ts'
import App from './AdminApp.vue'

ignoreStrayClicks()
createApp(App).mount('#app')
